// Opens pages in a real browser and says what it saw. Standard input: {browser, axe, looks}, standard output: a list.
// sandbox/browser.py describes each look and each answer.

import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const { browser: program, axe, looks } = JSON.parse(readFileSync(0, 'utf8'));
const audit = readFileSync(axe, 'utf8');
const browser = await chromium.launch({ executablePath: program });
const seen = [];
try {
  for (const look of looks) seen.push(await open(look));
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(seen));

async function open(look) {
  const context = await browser.newContext({
    viewport: { width: look.width, height: look.height },
    colorScheme: look.scheme,
    deviceScaleFactor: look.scale,
    offline: true,
  });
  const page = await context.newPage();
  const errors = [];
  const requests = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('dialog', (dialog) => { errors.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => request.url() !== look.url && requests.push(request.url()));
  await page.goto(look.url, { waitUntil: 'load' });
  if (look.unfold) {
    await page.evaluate(() => document.querySelectorAll('details').forEach((one) => { one.open = true; }));
  }
  const result = await page.evaluate(() => ({
    title: document.title,
    text: document.body.innerText,
    width: document.documentElement.scrollWidth,
    background: getComputedStyle(document.body).backgroundColor,
  }));
  // What sticks out over the page's edge, for the message.
  result.wide = await page.evaluate(() => [...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .slice(0, 5).map((one) => one.outerHTML.slice(0, 120)));
  if (look.screenshot) await page.screenshot({ path: look.screenshot, fullPage: look.whole });
  if (look.audit) {
    await page.evaluate(audit);
    const found = await page.evaluate(() => globalThis.axe.run());
    result.violations = found.violations.map(({ id, impact, help, nodes }) => (
      { id, impact, help, where: nodes.slice(0, 5).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`) }));
  }
  await context.close();
  return { violations: [], ...result, errors, requests };
}
