// Conditions on images: groups of them, all of a group's must hold, of one group or another. So any
// combination of AND and OR can be said.

const OPS = {
  text: [["contains", "contains"], ["lacks", "does not contain"], ["is", "is"], ["isnt", "is not"]],
  label: [["is", "is"], ["isnt", "is not"], ["contains", "contains"]],
  number: [["least", "≥"], ["most", "≤"]],
  choice: [["is", "is"], ["isnt", "is not"]],
};

const yesNo = (value) => (value === 1 ? "yes" : value === 0 ? "no" : "unknown");

// What conditions can be about: {key, label, kind, read(row), choices}.
function fieldsOf(images) {
  const common = [
    { key: "name", label: "image", kind: "text", read: (row) => images.names[row] },
    { key: "truth", label: "truth", kind: "label", read: (row) => truthOf(images, row) },
  ];
  const own = images.answers.flatMap((each) => [
    { key: `said:${each.model}`, label: `${each.model}: said`, kind: "label", read: (row) => each.label(row) },
    { key: `score:${each.model}`, label: `${each.model}: score`, kind: "number", read: (row) => (each.said(row) < 0 ? null : each.score(row)) },
    { key: `right:${each.model}`, label: `${each.model}: right`, kind: "choice", choices: ["yes", "no", "unknown"], read: (row) => yesNo(each.right[row]) },
    { key: `rank:${each.model}`, label: `${each.model}: place of the truth`, kind: "number", read: (row) => each.rank[row] || null },
    { key: `answered:${each.model}`, label: `${each.model}: answered`, kind: "choice", choices: ["yes", "no"], read: (row) => yesNo(each.said(row) >= 0 ? 1 : 0) },
    { key: `error:${each.model}`, label: `${each.model}: error`, kind: "text", read: (row) => each.errors.get(row) ?? "" },
  ]);
  const together = [
    { key: "agree", label: "models agree", kind: "choice", choices: ["yes", "no", "unknown"], read: (row) => yesNo(agreeOn(images, row)) },
    { key: "wrong", label: "models wrong", kind: "number", read: (row) => wrongBy(images, row) },
  ];
  return [...common, ...own, ...(images.answers.length > 1 ? together : [])];
}

function testOf({ column, op, value }, fields) {
  const field = fields.find((one) => one.key === column);
  if (!field || value === "") return null; // not said yet: it keeps nothing out
  if (field.kind === "number") {
    const bound = Number(value);
    if (Number.isNaN(bound)) return null;
    const holds = (one) => known(one) && (op === "least" ? one >= bound : one <= bound);
    return (row) => holds(field.read(row));
  }
  const wanted = String(value).toLowerCase();
  const holds = {
    is: (one) => one === wanted, isnt: (one) => one !== wanted,
    contains: (one) => one.includes(wanted), lacks: (one) => !one.includes(wanted),
  }[op];
  return (row) => holds(String(field.read(row)).toLowerCase());
}

// One test of all groups: a row passes if all conditions of any group hold.
function testOfGroups(groups, fields) {
  const tests = groups.map((group) => group.map((one) => testOf(one, fields)).filter(Boolean)).filter((group) => group.length);
  if (!tests.length) return () => true;
  return (row) => tests.some((group) => group.every((test) => test(row)));
}

class Conditions {
  constructor(fields, changed) {
    Object.assign(this, { fields, changed, groups: [] });
    this.node = el("div", { class: "conditions", role: "group", "aria-label": "Conditions" });
    this.draw();
  }

  set(groups) {
    this.groups = groups.map((group) => group.map((one) => ({ ...one })));
    this.draw();
    this.changed();
  }

  fresh() {
    return { column: "truth", op: "is", value: "" };
  }

  add(group) {
    if (group) group.push(this.fresh());
    else this.groups.push([this.fresh()]);
    this.draw();
    this.changed();
    const all = this.node.querySelectorAll(".condition");
    find("select", group ? this.node.querySelectorAll(".group")[this.groups.indexOf(group)].querySelector(".condition:last-of-type") ?? this.node : all[all.length - 1])?.focus();
  }

  remove(group, one) {
    group.splice(group.indexOf(one), 1);
    this.groups = this.groups.filter((each) => each.length);
    this.draw();
    this.changed();
  }

  draw() {
    this.node.replaceChildren(
      ...this.groups.flatMap((group, at) => [
        at > 0 && el("span", { class: "word or" }, "OR"),
        el("div", { class: "group" }, group.map((one, place) => [place > 0 && el("span", { class: "word" }, "AND"), this.condition(group, one)]),
          button("+ AND", () => this.add(group), { class: "small", "aria-label": "Add a condition that must hold as well" })),
      ]).filter(Boolean),
      button(this.groups.length ? "+ OR" : "+ Condition", () => this.add(null), { class: "small", "aria-label": this.groups.length ? "Add a group, of which one must hold" : "Add a condition" }));
  }

  condition(group, one) {
    const field = this.fields.find((each) => each.key === one.column) ?? this.fields[0];
    const columns = el("select", { "aria-label": "Column", onchange: (event) => {
      const next = this.fields.find((each) => each.key === event.target.value);
      Object.assign(one, { column: next.key, op: OPS[next.kind][0][0], value: next.choices?.[0] ?? "" });
      this.draw();
      this.changed();
    } }, this.fields.map((each) => el("option", { value: each.key, selected: each === field }, each.label)));
    const ops = el("select", { "aria-label": "Comparison", onchange: (event) => { one.op = event.target.value; this.changed(); } },
      OPS[field.kind].map(([key, text]) => el("option", { value: key, selected: key === one.op }, text)));
    const remove = button("×", () => this.remove(group, one), { class: "small", "aria-label": "Remove this condition" });
    return el("div", { class: "condition" }, columns, ops, this.input(field, one), remove);
  }

  input(field, one) {
    const keep = (event) => { one.value = event.target.value; this.changed(); };
    if (field.choices) return el("select", { "aria-label": "Value", onchange: keep }, field.choices.map((each) => el("option", { value: each, selected: each === one.value }, each)));
    if (field.kind === "number") return el("input", { type: "number", step: "any", "aria-label": "Value", value: one.value, oninput: keep });
    return el("input", { type: "text", "aria-label": "Value", value: one.value, list: field.kind === "label" ? "labels" : null, oninput: keep });
  }
}
