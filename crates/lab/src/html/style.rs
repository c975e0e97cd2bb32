//! CSS of a page for wide and narrow screens, light and dark mode, and print. It defines the
//! colours of the drawings as custom properties.

pub(super) const STYLE: &str = r#"
:root {
  --karez-background: #fff; --karez-ink: #1c1e21; --karez-faint: #5f6670; --karez-line: #d8dce1;
  --karez-raised: #f5f7f9; --karez-link: #0b57a4;
  --karez-good: #1a7f37; --karez-bad: #b42318; --karez-depends: #8a5a00; --karez-unknown: #5f6670;
  --karez-0: #0072b2; --karez-1: #e69f00; --karez-2: #009e73; --karez-3: #cc79a7;
  --karez-4: #56b4e9; --karez-5: #d55e00; --karez-6: #999; --karez-7: #b8a800;
}
@media (prefers-color-scheme: dark) {
  :root {
    --karez-background: #14171a; --karez-ink: #e4e7ea; --karez-faint: #9aa3ad; --karez-line: #363c43;
    --karez-raised: #1d2125; --karez-link: #7db8f0;
    --karez-good: #57c777; --karez-bad: #ff7b72; --karez-depends: #e3b341; --karez-unknown: #9aa3ad;
    --karez-0: #3d9fdd; --karez-6: #b3b3b3;
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
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--karez-line); text-align: left; vertical-align: top; }
thead th { font-weight: 600; color: var(--karez-faint); vertical-align: bottom; }
tbody th { position: sticky; left: 0; background: var(--karez-background); font-weight: 600; white-space: nowrap; }
td.figure { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; }
figure:has(.karez-chart) { display: inline-block; width: min(100%, 37rem); margin-right: 1rem; vertical-align: top; }
.karez-chart { display: block; width: 100%; height: auto; font: 13px system-ui, sans-serif; }
.karez-chart text { fill: var(--karez-ink); }
.karez-chart .karez-small { font-size: 12px; fill: var(--karez-faint); }
.karez-grid { stroke: var(--karez-line); }
.karez-range { stroke: var(--karez-ink); fill: none; }
figcaption { font-size: .9rem; margin-bottom: .25rem; }
pre {
  overflow-x: auto; padding: .75rem; background: var(--karez-raised); font-size: .8rem; line-height: 1.35;
}
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
@media print { body { max-width: none; } article, figure, tr { break-inside: avoid; } }
"#;
