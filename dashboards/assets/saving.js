// Saves what is shown: a plot as vectors, a plot or a table as numbers. Each button names its file (data-file).
(function () {
  document.addEventListener("click", function (event) {
    const button = event.target.closest("button[data-file]");
    if (!button) {
      return;
    }
    const file = button.dataset.file;
    const figure = button.closest("figure.plot");
    const graph = figure && figure.querySelector(".js-plotly-plot");
    if (file.endsWith(".svg")) {
      const size = {width: graph.offsetWidth, height: graph.offsetHeight};
      window.Plotly.downloadImage(graph, {format: "svg", filename: file.slice(0, -4), ...size});
    } else {
      save(file, graph ? plotted(graph) : tabulated(button.closest("table")));
    }
  });

  function save(file, rows) {
    const text = rows.map((row) => row.map(field).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // As ccar.reports.neutralise.for_csv: spreadsheets take a text that begins so for a formula. Signed numbers may, also
  // with their interval, "+1.05 (−0.58 to +2.68, n = 4) *": what has no other letters calls nothing.
  const FORMULA = /^[=@]|^[-+](?!(?: to | n = |[\d\s.,%±−+()*-])*$)/;

  function field(value) {
    if (typeof value === "number") {
      return Number.isFinite(value) ? String(value) : "";
    }
    const text = value === null || value === undefined ? "" : String(value);
    const harmless = FORMULA.test(text) ? "'" + text : text;
    return /[",\n]/.test(harmless) ? '"' + harmless.replaceAll('"', '""') + '"' : harmless;
  }

  function tabulated(table) {
    const rows = [...table.querySelectorAll("thead tr, tbody tr")];
    return rows.map((row) =>
      [...row.cells].flatMap((cell) => [textOf(cell), ...Array(cell.colSpan - 1).fill("")]),
    );
  }

  function textOf(element) {
    const texts = [];
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      texts.push(walker.currentNode.data);
    }
    return texts.join(" ").replace(/\s+/g, " ").trim();
  }

  // A row for each point of each line, or for each field of a map; columns that nothing fills are left out.
  function plotted(graph) {
    const layout = graph.layout;
    const titles = (start) =>
      Object.keys(layout).filter((name) => name.startsWith(start)).map((name) => plain(layout[name].title?.text));
    const panels = titles("yaxis").length > 1 ? layout.annotations.map((one) => plain(one.text)) : [];
    const rows = graph._fullData.filter((trace) => trace.visible === true).flatMap((trace) => {
      const panel = panels[(Number(trace.yaxis.slice(1)) || 1) - 1];
      const name = plain(trace._input.name); // else Plotly numbers it
      if (trace.z) {
        return [...trace.z].flatMap((line, j) =>
          [...line].map((z, i) => [name, panel, "", trace.x[i], trace.y[j], "", z]),
        );
      }
      const bars = [trace.error_y, trace.error_x].find((one) => one && one.visible);
      const point = (i) => (Array.isArray(trace.text) ? plain(trace.text[i]) : "");
      const points = [...trace.x].map((x, i) => [name, panel, point(i), x, trace.y[i], (bars && bars.array[i]) || "", ""]);
      return points.filter((row) => row[3] !== null); // some are there for the legend alone
    });
    const z = graph._fullData.find((trace) => trace.z)?.colorbar.title.text;
    const head = ["series", "panel", "point", titles("xaxis").find(Boolean) || "x", titles("yaxis").find(Boolean) || "y", "±", z];
    const isFilled = head.map((_, column) => rows.some((row) => field(row[column]) !== ""));
    return [head, ...rows].map((row) => row.filter((_, column) => isFilled[column]));
  }

  // What Plotly takes for a little HTML.
  function plain(text) {
    const page = new DOMParser().parseFromString(String(text ?? "").replaceAll("<br>", " "), "text/html");
    return page.body.textContent;
  }
})();
