// Names and keyboard access that the theme's own parts lack.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .highlight pre")) wide.tabIndex = 0;
});
