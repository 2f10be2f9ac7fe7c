export const reportStyle = `
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 18%, Canvas); --soft: color-mix(in srgb, CanvasText 5%, Canvas);
  --measured: #2f7d54; --authenticated: #2a6fb0; --encrypted: #7a4fb5; --none: #c63d2f; --mixed: #8a7f3a; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.5rem; margin: 0.8rem 0 0.2rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.6rem; }
p { margin: 0.3rem 0; }
.small { font-size: 0.87em; opacity: 0.8; }
code, .mono { font: 0.88em ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.28rem 0.9rem 0.28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.notices { border-left: 4px solid var(--none); background: var(--soft); padding: 0.6rem 1rem; margin: 1rem 0; }
.notices h2 { margin: 0 0 0.3rem; }
.notices ul { margin: 0; padding-left: 1.2rem; }
.calm { border-left-color: var(--measured); }
.key { display: inline-block; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.45em; border-radius: 2px; background: var(--key); }
.key.measured { --key: var(--measured); } .key.authenticated { --key: var(--authenticated); }
.key.encrypted { --key: var(--encrypted); } .key.none { --key: var(--none); } .key.mixed { --key: var(--mixed); }
.bar, .map { width: 100%; height: auto; display: block; }
.bar { border-radius: 4px; margin-bottom: 0.6rem; }
svg text { font: 11px ui-monospace, monospace; fill: #fff; pointer-events: none; }
svg rect { stroke: Canvas; stroke-width: 1; }
svg rect.fine { stroke: none; }
svg rect.folder { fill: var(--soft); stroke: var(--line); }
svg rect.folder + text { fill: CanvasText; }
svg rect.measured { fill: var(--measured); } svg rect.authenticated { fill: var(--authenticated); }
svg rect.encrypted { fill: var(--encrypted); } svg rect.none { fill: var(--none); } svg rect.mixed { fill: var(--mixed); }
details { border-bottom: 1px solid var(--line); padding: 0.3rem 0; }
summary { cursor: pointer; }
details table { font-size: 0.9em; margin: 0.4rem 0 0.8rem; }
`
