"""How the HTML page looks: in light and in dark, on a desk and on a phone, on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f4f6f8; --ink: #1b2530; --quiet: #5b6875; --rule: #d3dae0; --published: #9aa5b1;
  --link: #0b5ea8; --warn: #8a4b00;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7;
  --c4: #e69f00; --c5: #56b4e9; --c6: #8a6d3b; --c7: #7f7f7f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12171c; --raised: #1b2229; --ink: #e6ebf0; --quiet: #a3afbb; --rule: #35404a; --published: #7d8995;
    --link: #7db9f0; --warn: #f0b96b;
    --c0: #4aa3df; --c1: #f0843c; --c2: #2fc79a; --c3: #e29cc2;
    --c4: #f2b632; --c5: #9ad4f5; --c6: #c5a36a; --c7: #b0b0b0;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header, main, footer { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 40px; }
h1 { font-size: clamp(1.7rem, 5vw, 2.4rem); line-height: 1.15; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 14px; }
h3 { font-size: 1rem; margin: 26px 0 8px; }
section { border-top: 1px solid var(--rule); margin-top: 44px; padding-top: 26px; }
p { margin: 0 0 14px; max-width: 46rem; overflow-wrap: break-word; }
.made { color: var(--quiet); margin: 6px 0 22px; }
.lead { font-size: 1.14rem; }
.note { color: var(--quiet); font-size: 0.92rem; }
.missing { border-left: 3px solid var(--warn); padding-left: 12px; color: var(--quiet); }
a { color: var(--link); }
code, pre { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: 0.88em; }
code { overflow-wrap: anywhere; }
pre {
  background: var(--raised); padding: 12px 14px; border-radius: 6px; overflow-x: auto; line-height: 1.5;
  margin: 8px 0 16px;
}
nav ul, .legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; }
nav ul { margin: 22px 0 0; font-size: 0.95rem; }
dl.highlights { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 24px 0; }
dl.highlights div {
  background: var(--raised); border-radius: 8px; padding: 14px 16px; display: flex; flex-direction: column;
}
dl.highlights dt { color: var(--quiet); font-size: 0.9rem; }
dl.highlights dd { margin: 0; }
dl.highlights .value { font-size: 1.8rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
dl.highlights .detail { color: var(--quiet); font-size: 0.85rem; }
.scroll { overflow-x: auto; margin: 8px 0 18px; }
.scroll:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 0.82rem; line-height: 1.4; }
caption { text-align: left; font-weight: 600; padding: 0 0 8px; font-size: 0.95rem; }
th, td { padding: 6px 10px 6px 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-weight: 600; border-bottom-width: 2px; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 9rem; max-width: 22rem; overflow-wrap: anywhere; }
td { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 20px 0 26px; }
figcaption { color: var(--quiet); font-size: 0.9rem; margin-top: 8px; max-width: 46rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 14px 26px; }
.panels.lone { display: block; max-width: 640px; }
.panels svg { width: 100%; height: auto; display: block; }
.panels svg * { stroke-linejoin: round; stroke-linecap: butt; }
.panels text { font-family: inherit !important; }
.legend { margin: 0 0 10px; font-size: 0.88rem; }
.legend li { overflow-wrap: anywhere; }
.swatch { width: 24px; height: 14px; vertical-align: -2px; margin-right: 6px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 0 26px; }
.picture { margin: 12px 0 18px; max-width: 620px; }
.picture img { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: 6px; }
.picture .scroll { margin: 0; }
.picture.wide { grid-column: 1 / -1; max-width: none; }
.picture.wide img { min-width: 680px; }
details { margin: 10px 0 14px; }
summary { cursor: pointer; color: var(--link); }
footer {
  color: var(--quiet); font-size: 0.88rem; border-top: 1px solid var(--rule); margin-top: 44px; padding: 18px 20px 40px;
}
@media (max-width: 600px) { body { font-size: 15px; } header { padding-top: 24px; } section { margin-top: 32px; } }
@media print { details > * { display: block; } .scroll, pre { overflow: visible; } }
"""
