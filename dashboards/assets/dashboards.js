// What Dash cannot do from Python: the title of the window, and saving a plot as vectors.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  ccar: {
    entitle: function (title) {
      document.title = title ? title + " - ccar" : "ccar";
      return window.dash_clientside.no_update;
    },
    save_svg: function (clicks, id) {
      if (!clicks) {
        return window.dash_clientside.no_update;
      }
      const graph = document.getElementById(JSON.stringify({plot: id.save})).querySelector(".js-plotly-plot");
      window.Plotly.downloadImage(graph, {format: "svg", filename: id.save, width: graph.offsetWidth, height: graph.offsetHeight});
      return window.dash_clientside.no_update;
    },
  },
});
