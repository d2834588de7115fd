// Opens pages in Chromium at 1280 and 390 CSS pixels, in the light and in the dark scheme, and prints them on A4.
// For each it runs all rules of axe-core, and measures whether the page can be scrolled sideways. Exit status 1 if any
// page has a violation of level serious or critical, or is wider than its window.
//
//   npm install --no-save axe-core puppeteer-core     (needs chromium and pdfinfo on the PATH)
//   node benchmarks/pages.mjs OUTPUT PAGE.html ...     writes screenshots and PDFs to OUTPUT
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(process.cwd(), "package.json"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const chromium = execFileSync("which", ["chromium"]).toString().trim();
const [output, ...pages] = process.argv.slice(2);
mkdirSync(output, { recursive: true });
const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"], protocolTimeout: 600000 });
let failed = false;

for (const page of pages) {
  const name = `${basename(dirname(resolve(page)))}-${basename(page, ".html")}`;
  for (const width of [1280, 390])
    for (const scheme of ["light", "dark"]) {
      const tab = await browser.newPage();
      await tab.setBypassCSP(true); // for axe only: the page itself allows no other script than its own
      await tab.setViewport({ width, height: 844, deviceScaleFactor: width < 500 ? 2 : 1, isMobile: width < 500 });
      await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await tab.goto(pathToFileURL(resolve(page)).href);
      await tab.evaluate(axe);
      const found = await tab.evaluate(() => axe.run(document));
      const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
      const levels = ["critical", "serious", "moderate", "minor"].map(level => [level, found.violations.filter(one => one.impact === level)]);
      const counts = levels.map(([level, ones]) => `${level} ${ones.length}`).join(", ");
      const open = found.incomplete.map(one => one.id).join(" ") || "none";
      console.log(`${name} ${width} ${scheme}: ${counts}; undecided ${open}; width ${wide}`);
      for (const one of found.violations) for (const node of one.nodes) console.log(`  ${one.id}: ${node.target.join(" ")}`);
      failed ||= wide > width || levels[0][1].length + levels[1][1].length > 0;
      await tab.screenshot({ path: join(output, `${name}-${width}-${scheme}.png`), fullPage: true });
      if (width === 1280 && scheme === "light") {
        const pdf = join(output, `${name}.pdf`);
        await tab.pdf({ path: pdf, preferCSSPageSize: true, printBackground: true });
        console.log(`${name} on paper: ${execFileSync("pdfinfo", [pdf]).toString().match(/Pages:\s+(\d+)/)[1]} pages`);
      }
      await tab.close();
    }
}
await browser.close();
process.exit(failed ? 1 : 0);
