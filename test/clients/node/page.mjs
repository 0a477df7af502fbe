// A browser that looks at the operator's page as a person would: page.mjs PACKAGES. It reads one job as a line of JSON, asks for what only
// the test can do with lines of {"want": …}, and ends with a line of {"found": […]}: what is wrong.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = process.argv[2];
const require = createRequire(join(packages, 'x.js'));
const { default: chromium } = await import(pathToFileURL(join(packages, '@sparticuz/chromium/build/index.js')).href);
const { chromium: playwright } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse((await lines.next()).value);
const want = async (what) => { console.log(JSON.stringify({ want: what })); return read(); };

const found = [];
const job = await read();
// The browser runs in one process, which a context that is closed would take along.
const browser = await playwright.launch({ args: [...chromium.args, '--no-sandbox'], executablePath: await chromium.executablePath(), headless: true });

async function open(options) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'Europe/Oslo', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.on('dialog', (d) => { found.push(`a name was run as a script: ${d.message()}`); d.dismiss(); });
  page.on('pageerror', (e) => found.push(`${page.url()}: ${e.message}`));
  page.on('console', (m) => { if (m.type() === 'error' && !page.expects) found.push(`${page.url()}: ${m.text()}`); });
  return page;
}

async function signIn(page) {
  if (!job.token) return page.goto(job.url);
  await page.goto(`${job.url}/`);
  await page.fill('input[name=token]', job.token);
  await Promise.all([page.waitForURL((u) => u.pathname === '/'), page.click('button')]);
}

async function check(name, run) {
  try {
    await run();
  } catch (e) {
    found.push(`${name}: ${e.message}`);
  }
}

function hold(ok, what) { if (!ok) throw new Error(what); }

async function pictures() {
  const page = await open({ viewport: { width: 1180, height: 760 }, colorScheme: 'light' });
  await signIn(page);
  for (const { path, link, file } of job.pictures) {
    await page.goto(job.url + path);
    if (link) {
      await page.locator(link).first().click();
      await page.waitForURL(/\/turns\//);
    }
    await page.waitForTimeout(1500); // the picture of a moment, which no test looks at
    await page.screenshot({ path: file });
  }
}

async function look() {
  const page = await open({ viewport: { width: 1440, height: 900 } });
  await check('a wrong token', async () => {
    page.expects = true; // the browser logs the 401
    await page.goto(`${job.url}/turns?pool=openai`);
    await page.fill('input[name=token]', 'wrong');
    await page.click('button');
    await page.getByText('The token is wrong.').waitFor();
    await page.fill('input[name=token]', job.token);
    await page.click('button');
    await page.waitForURL(/\/turns\?pool=openai$/);
    page.expects = false;
  });
  const turn = await page.locator('#turns a').first().getAttribute('href');
  for (const scheme of ['light', 'dark']) {
    for (const width of [1440, 390]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: 900 });
      for (const path of ['/', '/turns', turn, '/tools', '/spend?by=session&every=hour', '/running', '/key?pool=openai&key=key0&do=disable']) {
        await check(`${path} ${scheme} ${width}`, async () => {
          await page.goto(job.url + path);
          await page.evaluate(axe);
          const wrong = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }).then((r) => r.violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 200)} ${v.nodes[0].failureSummary}`)));
          for (const w of wrong) found.push(`${path} ${scheme} ${width}: ${w}`);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth);
          hold(wide <= width, `it is ${wide} wide`);
          await page.screenshot({ path: join(job.artifacts, `${path.replace(/[^a-z]+/g, '-')}-${scheme}-${width}.png`), fullPage: true });
        });
      }
    }
  }
  await page.setViewportSize({ width: 1440, height: 900 });

  await check('disabling a key', async () => {
    await page.goto(`${job.url}/`);
    const row = page.locator('#p-openai tr', { hasText: 'key1' });
    await row.getByText('Disable').click();
    await page.locator('dialog').getByText('No request gets this key').waitFor();
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => !document.getElementById('ask').open && document.activeElement.textContent === 'Disable');
    await row.getByText('Disable').click();
    await page.locator('dialog button').click();
    await page.getByText('The key is disabled.').waitFor();
    await row.getByText('disabled', { exact: true }).waitFor();
    await row.getByText('Enable', { exact: false }).first().click();
    await page.locator('dialog button').click();
    await row.getByText('valid', { exact: true }).waitFor();
  });
  await check('what is new', async () => {
    await page.goto(`${job.url}/turns?model=fresh-model`);
    await page.getByText('No turn that is kept is like that.').waitFor();
    await page.waitForFunction(() => document.getElementById('tail')?.hidden === false);
    await want('traffic');
    await page.locator('#turns').getByText('fresh-model').first().waitFor();
  });
  await check('a restart', async () => {
    page.expects = true; // the browser logs each connection that is refused
    await page.goto(`${job.url}/`);
    await page.evaluate(() => { window.untouched = true; });
    await want('stop');
    await page.locator('#gone').waitFor({ state: 'visible' });
    await want('start');
    await page.locator('#gone').waitFor({ state: 'hidden' });
    hold(await page.evaluate(() => window.untouched), 'the page was loaded anew');
    page.expects = false;
  });
  await check('without JavaScript', async () => {
    const plain = await open({ javaScriptEnabled: false, viewport: { width: 1000, height: 800 } });
    await signIn(plain);
    await plain.locator('#p-openai tr', { hasText: 'key1' }).getByText('Disable').click();
    await plain.getByText('No request gets this key').waitFor();
    await plain.locator('form button.go').click();
    await plain.getByText('The key is disabled.').waitFor();
    await plain.goto(`${job.url}/turns?failed=true`);
    hold((await plain.locator('#turns tr').count()) >= 0, 'no table');
    await plain.getByText('Sign out').click();
    await plain.waitForURL(/signin/);
  });
}

try {
  if (job.pictures) await pictures();
  else await look();
} catch (e) {
  found.push(e.stack);
}
await browser.close();
console.log(JSON.stringify({ found }));
process.exit(0);
