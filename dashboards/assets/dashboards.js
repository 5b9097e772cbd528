// What Dash cannot do from Python, or not without asking the server: the title of the window, following a point of a
// plot to its page, and going on after the server was away.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  ccar: {
    entitle: function (title) {
      document.title = title ? title + " - ccar" : "ccar";
      return window.dash_clientside.no_update;
    },
    follow: function () {
      const clicked = window.dash_clientside.callback_context.triggered.find((one) => one.value);
      // The address lies beside the point where there is one to go to.
      return (clicked && clicked.value.points[0].customdata) || window.dash_clientside.no_update;
    },
  },
});

(function () {
  // Dash turns the tick off while the server makes a page, and on again with the answer. Where none comes, since the
  // server or the way to it is gone, that is done here; with the first answer after that, all is asked for anew.
  const ask = window.fetch;
  let isAway = false;
  window.fetch = async function (...asked) {
    if (!String(asked[0]).includes("_dash-update-component")) {
      return ask(...asked);
    }
    try {
      const answer = await ask(...asked);
      await answer.clone().arrayBuffer(); // it may break off
      if (isAway) {
        isAway = false;
        window.dash_clientside.set_props("shown", {data: ["", ""]});
      }
      return answer;
    } catch (error) {
      isAway = true;
      window.dash_clientside.set_props("tick", {disabled: false});
      throw error;
    }
  };
})();
