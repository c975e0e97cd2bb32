//! CSS of a page for wide and narrow screens, light and dark mode, and print.

pub(super) const STYLE: &str = r#"
:root {
  --karez-background: #fff; --karez-ink: #1c1e21; --karez-faint: #5f6670; --karez-line: #d8dce1;
  --karez-raised: #f5f7f9; --karez-link: #0b57a4;
  --karez-good: #1a7f37; --karez-bad: #b42318; --karez-depends: #8a5a00; --karez-unknown: #5f6670;
}
@media (prefers-color-scheme: dark) {
  :root {
    --karez-background: #14171a; --karez-ink: #e4e7ea; --karez-faint: #9aa3ad; --karez-line: #363c43;
    --karez-raised: #1d2125; --karez-link: #7db8f0;
    --karez-good: #57c777; --karez-bad: #ff7b72; --karez-depends: #e3b341; --karez-unknown: #9aa3ad;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 86rem; background: var(--karez-background);
  color: var(--karez-ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--karez-line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
a { color: var(--karez-link); }
header p, figcaption, caption, .notes, .details { color: var(--karez-faint); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .25rem 0; font-size: .9rem; position: sticky; left: 0; }
th[title], td[title] { cursor: help; }
thead th[title] { text-decoration: underline dotted; text-underline-offset: .2em; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--karez-line); text-align: left; vertical-align: top; }
thead th:not(:first-child) { min-width: 5.5em; }
thead th { font-weight: 600; color: var(--karez-faint); vertical-align: bottom; }
tbody th { position: sticky; left: 0; background: var(--karez-background); font-weight: 600; white-space: nowrap; }
td a { white-space: nowrap; }
td.figure { text-align: right; white-space: nowrap; }
figure { display: inline-block; max-width: 100%; margin: 1rem 1rem 1rem 0; vertical-align: top; }
figure svg { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .9rem; margin-bottom: .25rem; width: 0; min-width: 100%; }
pre {
  overflow-x: auto; padding: .75rem; background: var(--karez-raised); font-size: .8rem; line-height: 1.35;
}
.command { font-size: .85rem; color: var(--karez-faint); margin: .25rem 0 1rem; }
code { font-size: .95em; background: var(--karez-raised); padding: .1em .3em; overflow-wrap: anywhere; }
a.anchor { color: var(--karez-line); font-weight: 400; text-decoration: none; }
a.anchor:hover, a.anchor:focus { color: var(--karez-link); }
details { margin: .5rem 0 1rem; }
summary { cursor: pointer; color: var(--karez-link); font-size: .9rem; }
.filter > input { position: absolute; opacity: 0; pointer-events: none; }
.filter > label {
  display: inline-block; padding: .2rem .7rem; margin: 0 .4rem .4rem 0; font-size: .88rem; cursor: pointer;
  border: 1px solid var(--karez-line); border-radius: 1rem;
}
.filter > input:checked + label { background: var(--karez-ink); color: var(--karez-background); }
.filter > input:focus-visible + label { outline: 2px solid var(--karez-link); outline-offset: 2px; }
.filter > input[value="confirmed"]:checked ~ .entries > article:not(.confirmed),
.filter > input[value="refuted"]:checked ~ .entries > article:not(.refuted),
.filter > input[value="depends-on"]:checked ~ .entries > article:not(.depends-on),
.filter > input[value="not-measurable-here"]:checked ~ .entries > article:not(.not-measurable-here) { display: none; }
article:target, h3:target { background: var(--karez-raised); }
.notes { font-size: .9rem; padding-left: 1.2rem; }
article {
  display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 1rem;
  padding: .6rem 0; border-bottom: 1px solid var(--karez-line);
}
article h3 { margin: 0; }
article dl, article .details { grid-column: 1 / -1; margin: .25rem 0 0; }
.badge { margin: 0; font-weight: 700; white-space: nowrap; }
.badge.confirmed, .badge.ok { color: var(--karez-good); }
.badge.refuted, .badge.failed { color: var(--karez-bad); }
.badge.depends-on { color: var(--karez-depends); }
.badge.not-measurable-here, .badge.skipped { color: var(--karez-unknown); }
dl { font-size: .88rem; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .8rem; }
dt { color: var(--karez-faint); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { padding: .75rem; }
  article, dl { grid-template-columns: minmax(0, 1fr); }
  article .badge { grid-row: 1; }
  dd { margin: 0 0 .3rem; }
}
@media print {
  @page { margin: 12mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, a.anchor, .filter > input, .filter > label { display: none; }
  .filter > .entries > article { display: grid !important; }
  h2, h3, figcaption, caption { break-after: avoid; }
  article, figure, tr { break-inside: avoid; }
  figure svg { max-height: 16cm; width: auto; }
  .wide { overflow: visible; }
  table { font-size: 7pt; }
  th, td { padding: .1rem .25rem; }
  tbody th, caption { position: static; white-space: normal; }
  td.figure { white-space: normal; }
}
"#;
