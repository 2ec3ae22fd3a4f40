"use strict";
(function () {
  const tabs = Array.from(document.querySelectorAll("[role=tab]"));
  function open(tab, focus) {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) { tab.focus(); }
  }
  tabs.forEach(function (tab, i) {
    tab.addEventListener("click", function () { open(tab, false); });
    tab.addEventListener("keydown", function (event) {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) { return; }
      event.preventDefault();
      open(tabs[(to + tabs.length) % tabs.length], true);
    });
  });
  document.querySelector("[role=tablist]").hidden = false;
  open(tabs.find(function (tab) { return "#" + tab.getAttribute("aria-controls") === location.hash; }) || tabs[0], false);

  const tip = document.getElementById("tip"), said = document.getElementById("said");
  function show(target, x, y) {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18) + "px";
  }
  document.addEventListener("pointermove", function (event) {
    const target = event.target.closest("[data-tip]");
    if (target) { show(target, event.clientX, event.clientY); } else { tip.hidden = true; }
  });
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { tip.hidden = true; }
  });
  for (const line of document.querySelectorAll(".line")) {
    const cells = Array.from(line.querySelectorAll(".cell"));
    let at = -1;
    line.addEventListener("keydown", function (event) {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by || !cells.length) { return; }
      event.preventDefault();
      if (at >= 0) { cells[at].classList.remove("now"); }
      at = Math.max(0, Math.min(cells.length - 1, at + by));
      cells[at].classList.add("now");
      const box = cells[at].getBoundingClientRect();
      show(cells[at], box.left, box.bottom - 10);
      said.textContent = cells[at].dataset.tip;
    });
    line.addEventListener("blur", function () {
      if (at >= 0) { cells[at].classList.remove("now"); }
      at = -1;
      tip.hidden = true;
    });
  }
})();
