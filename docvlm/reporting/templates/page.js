"use strict";
(() => {
  const root = document.documentElement;
  const button = document.querySelector(".theme");
  const words = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
  const next = { auto: "light", light: "dark", dark: "auto" };
  let theme = "auto";
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = next[theme];
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = words[theme];
  });

  for (const gallery of document.querySelectorAll(".gallery")) {
    const form = gallery.querySelector(".filters");
    const cards = [...gallery.querySelectorAll(".card")];
    const count = gallery.querySelector(".count");
    const more = gallery.querySelector(".more");
    const step = 24;
    let room = step;
    const show = () => {
      const wanted = new FormData(form);
      const text = wanted.get("text").trim().toLowerCase();
      let fitting = 0;
      for (const card of cards) {
        const fits = [...wanted].every(([name, value]) => name === "text" || !value || card.dataset[name] === value);
        const wantedToo = fits && (!text || card.textContent.toLowerCase().includes(text));
        fitting += wantedToo;
        card.hidden = !wantedToo || fitting > room;
      }
      more.hidden = fitting <= room;
      count.textContent = `${fitting} of ${cards.length} answers fit, ${Math.min(room, fitting)} shown`;
    };
    form.hidden = false;
    const anew = () => { room = step; show(); };
    more.addEventListener("click", () => { room += step; show(); });
    form.addEventListener("input", anew);
    form.addEventListener("change", anew);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(anew));
    show();
  }

  const dialog = document.querySelector("dialog");
  for (const zoom of document.querySelectorAll(".zoom")) {
    zoom.addEventListener("click", () => {
      const small = zoom.querySelector("img");
      const large = dialog.querySelector("img");
      large.src = small.src;
      large.alt = small.alt;
      dialog.showModal();
    });
  }
  if (dialog) dialog.querySelector("button").addEventListener("click", () => dialog.close());

  const links = new Map([...document.querySelectorAll(".side a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  for (const section of document.querySelectorAll("main section")) watch.observe(section);
})();
