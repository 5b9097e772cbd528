// What Dash cannot do from Python, or not without asking the server: the title of the window, following a point of a
// plot to its page, and saving a plot as vectors.
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
