// What somebody does on /docs. Usage: node docs.spec.cjs URL PROFILE SCREENSHOT (docs.sh does the rest).
"use strict";
const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const [url, profile, screenshot] = process.argv.slice(2);
const PATIENCE_MS = 120_000;

async function open(settings) {
  const context = await chromium.launchPersistentContext(`${profile}-${Math.random()}`, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
    viewport: { width: 1000, height: 900 },
    timeout: PATIENCE_MS,
    ...settings,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = context.pages()[0] ?? await context.newPage();
  const trouble = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) trouble.push(message.text()); });
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(new URL(url).origin) && !request.url().startsWith("data:")) trouble.push(request.url()); });
  await page.goto(url);
  return { context, page, trouble };
}

const checks = {
  async "names, states and signatures are there"({ page }) {
    assert.deepEqual(await page.locator("h2").allInnerTexts(), ["iris ready", "simple ready"]);
    const rows = (model) => page.locator(`#model-${model} tr`).allInnerTexts();
    assert.deepEqual((await rows("simple")).map((row) => row.split(/\s+/).join(" ")), [
      "INPUT0 INT32 [any, 16]", "INPUT1 INT32 [any, 16]", "OUTPUT0 INT32 [any, 16]", "OUTPUT1 INT32 [any, 16]",
    ]);
    assert.match((await rows("iris"))[0], /^sepal length \(cm\)\s+FP64\s+\[any\]$/);
  },

  async "the example is sent and its prediction shown"({ page }) {
    const call = page.locator("#model-iris details").first();
    assert.equal(await call.getAttribute("open"), "");
    await call.getByRole("button", { name: "Send" }).click();
    await call.locator("output", { hasText: "200 OK" }).waitFor();
    assert.match(await call.locator("output").innerText(), /"predictions": \[0, 1\]/);
    await page.screenshot({ path: screenshot, fullPage: true });
  },

  async "V2 is folded until it is asked for"({ page }) {
    const call = page.locator("#model-simple details", { hasText: "V2" });
    const send = call.getByRole("button", { name: "Send" });
    assert.equal(await send.isVisible(), false);
    await call.locator("summary").click();
    await send.click();
    await call.locator("output", { hasText: "200 OK" }).waitFor();
    const answer = await call.locator("output").innerText();
    assert.deepEqual(JSON.parse(answer.slice(answer.indexOf("{"))).outputs.map((one) => one.name), ["OUTPUT0", "OUTPUT1"]);
  },

  async "the curl line follows the body, and copies"({ context, page }) {
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: new URL(url).origin });
    const call = page.locator("#model-iris details").first();
    await call.getByLabel("Request body").fill(`{"instances": [[9007199254740993, 2, 3, 4]], "it's": 1}`);
    const line = await call.locator(".curl").innerText();
    const origin = new URL(url).origin;
    assert.equal(line, `curl '${origin}/v1/models/iris:predict' -d '{"instances":[[9007199254740993,2,3,4]],"it'\\''s":1}'`);
    await call.getByRole("button", { name: "Copy" }).click();
    await call.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), line);
  },

  async "a mistake is explained"({ page, trouble }) {
    const call = page.locator("#model-iris details").first();
    await call.getByLabel("Request body").fill(`{"instances": [[1, 2]]}`);
    await call.getByLabel("Request body").press("Control+Enter");
    await call.locator("output.bad", { hasText: "400 Bad Request" }).waitFor();
    assert.match(await call.locator("output").innerText(), /columns/);
    trouble.splice(0, trouble.length, ...trouble.filter((text) => !text.includes("400 (Bad Request)"))); // Chromium tells of it
  },
};

async function main() {
  const browser = await open({});
  for (const [name, check] of Object.entries(checks)) {
    await check(browser);
    console.log(`ok: ${name}`);
  }
  assert.deepEqual(browser.trouble, [], "the console is silent, and nothing comes from elsewhere");
  await browser.context.close();

  const plain = await open({ javaScriptEnabled: false, colorScheme: "dark", viewport: { width: 400, height: 800 } });
  const call = plain.page.locator("#model-iris details").first();
  assert.match(await call.locator(".curl").innerText(), /^curl "\$SERVER\/v1\/models\/iris:predict" -d '/);
  assert.equal(await call.getByRole("button", { name: "Send" }).isVisible(), false);
  const wide = await plain.page.locator("body").evaluate((body) => body.scrollWidth).catch(() => 0);
  assert.ok(wide <= 400, `the page is ${wide} px wide on a telephone`);
  await plain.page.screenshot({ path: screenshot.replace(/\.png$/, "-small.png") });
  await plain.context.close();
  console.log("ok: readable without JavaScript, in the dark, on a telephone");
}

main().catch((error) => { console.error(error); process.exit(1); });
