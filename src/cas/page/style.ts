export const pageStyle = `
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 18%, Canvas); --good: #1a7f37; --bad: #cf222e; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem 1.5rem 4rem; }
header { border-bottom: 1px solid var(--line); margin-bottom: 1.5rem; }
h1 { font-size: 1.4rem; margin: 0.5rem 0 0; }
h2 { font-size: 1.05rem; margin: 2rem 0 0.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; white-space: nowrap; }
td { overflow-wrap: break-word; }
td:last-child, td code { overflow-wrap: anywhere; }
code { font: 0.88em ui-monospace, monospace; }
.good { color: var(--good); } .bad { color: var(--bad); } .pending { opacity: 0.7; }
input { font: inherit; padding: 0.2rem 0.4rem; }
`
