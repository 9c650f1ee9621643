"use strict";
// Steps through a lesson: shows one step, and in the picture what has been computed by then.
class Lesson {
  constructor(article) {
    this.article = article;
    this.changes = JSON.parse(article.dataset.changes);
    this.steps = [...article.querySelectorAll(".step")];
    this.range = article.querySelector("input[type=range]");
    this.all = article.querySelector("button.all");
    this.at = 0;
    this.range.addEventListener("input", () => this.go(Number(this.range.value)));
    for (const button of article.querySelectorAll("button[data-go]")) {
      button.addEventListener("click", () => this.move(button.dataset.go));
    }
    this.all.addEventListener("click", () => this.showAll(this.all.getAttribute("aria-pressed") !== "true"));
    this.showAll(false);
  }

  move(where) {
    const last = this.steps.length - 1;
    this.go({ first: 0, back: this.at - 1, next: this.at + 1, last }[where]);
  }

  go(step) {
    this.at = Math.min(Math.max(step, 0), this.steps.length - 1);
    this.all.setAttribute("aria-pressed", "false");
    this.draw();
  }

  showAll(on) {
    this.all.setAttribute("aria-pressed", String(on));
    this.draw();
  }

  draw() {
    const all = this.all.getAttribute("aria-pressed") === "true";
    const last = this.steps.length - 1;
    this.article.classList.toggle("stepping", !all);
    this.steps.forEach((step, k) => { step.hidden = !all && k !== this.at; });
    this.range.value = this.at;
    this.range.setAttribute("aria-valuetext", this.steps[this.at].querySelector(".place").textContent);
    for (const button of this.article.querySelectorAll("button[data-go]")) {
      button.disabled = ["first", "back"].includes(button.dataset.go) ? this.at === 0 : this.at === last;
    }
    this.paint(all);
  }

  paint(all) {
    const seen = { values: new Set(), slopes: new Set(), edges: new Set(), totals: new Set(), now: new Set() };
    this.changes.slice(0, this.at + 1).forEach((change) => {
      for (const key of ["values", "slopes", "edges", "totals"]) change[key].forEach((id) => seen[key].add(id));
    });
    const lit = new Set(this.changes.slice(0, this.at + 1)
      .flatMap((change, k) => this.steps[k].classList.contains("forward") ? [] : change.now));
    const now = new Set(this.changes[this.at].now);
    const everything = seen.edges.has("*");
    for (const box of this.article.querySelectorAll(".box")) {
      const id = box.dataset.box;
      box.classList.toggle("has-value", seen.values.has(id));
      box.classList.toggle("has-slope", seen.slopes.has(id));
      box.classList.toggle("lit", everything || lit.has(id));
      box.classList.toggle("now", now.has(id));
    }
    for (const edge of this.article.querySelectorAll(".edge")) {
      const id = edge.dataset.edge;
      edge.classList.toggle("has-slope", everything || seen.edges.has(id));
      edge.classList.toggle("has-total", everything || seen.totals.has(id));
      const bright = everything || lit.has(id) || all;
      edge.classList.toggle("lit", bright);
      edge.classList.toggle("now", now.has(id));
      const path = edge.querySelector("path");
      if (!path) continue;
      const marker = path.getAttribute("marker-end").replace("-chain)", ")");
      path.setAttribute("marker-end", bright && edge.classList.contains("chain") ? marker.replace(")", "-chain)") : marker);
    }
    for (const told of this.article.querySelectorAll(".told")) {
      told.classList.toggle("is-told", Number(told.dataset.step) <= this.at);
    }
  }
}

const lessons = [...document.querySelectorAll(".lesson")].map((article) => new Lesson(article));
let current = lessons[0];
const menu = document.getElementById("weight");

function choose(index) {
  current = lessons[index];
  lessons.forEach((lesson, k) => { lesson.article.hidden = k !== index; });
}

if (menu) menu.addEventListener("change", () => choose(Number(menu.value)));
choose(0);

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select, input, .scroll")) return;
  const where = { ArrowRight: "next", ArrowLeft: "back", Home: "first", End: "last" }[event.key];
  if (!where) return;
  event.preventDefault();
  current.move(where);
});
