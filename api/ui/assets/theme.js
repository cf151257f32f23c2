// Runs before the first paint, so that a chosen theme does not flash. Without a
// choice the system's holds.
"use strict";
const theme = {
  names: ["auto", "light", "dark"],
  get() {
    try {
      return localStorage.getItem("captioner.theme") || "auto";
    } catch {
      return "auto"; // storage may be forbidden
    }
  },
  set(name) {
    try {
      localStorage.setItem("captioner.theme", name);
    } catch {
      // The choice holds until the page is closed.
    }
    this.apply(name);
  },
  apply(name) {
    document.documentElement.dataset.theme = name;
    dispatchEvent(new Event("themechange"));
  },
};
window.theme = theme;
theme.apply(theme.get());
