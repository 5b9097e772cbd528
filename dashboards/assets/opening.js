// Opens a file of this machine in an editor, whose id the button names (data-opens): the file is read here in the
// browser. Of what is longer than data-most characters, enough is read to see that.
document.addEventListener("click", function (event) {
  const button = event.target.closest("button[data-opens]");
  if (!button) {
    return;
  }
  const chooser = document.createElement("input");
  chooser.type = "file";
  chooser.accept = ".yaml,.yml";
  chooser.addEventListener("change", async function () {
    const start = chooser.files[0].slice(0, 4 * (Number(button.dataset.most) + 1)); // bytes: up to four a character
    window.dash_clientside.set_props(button.dataset.opens, {value: await start.text()});
  });
  chooser.click();
});
