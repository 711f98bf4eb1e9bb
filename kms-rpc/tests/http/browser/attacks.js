// By what means a page can make its reader's browser ask another server, and what the page sees of the answer.
// The query names the daemon's port, the cookie's file, the cookie itself, and where to report to.
const query = new URLSearchParams(location.search)
const { port, file, cookie, report } = Object.fromEntries(query)
const seen = {}

// A call that leaves a trace if it is ever run.
const call = name => JSON.stringify({ method: 'generate_key', params: ['pwned', name], id: 1 })

/** Notes what came of something: `read …` is a page that got an answer. */
async function attempt (name, work) {
  const late = new Promise(resolve => setTimeout(resolve, 2500, 'nothing'))
  seen[name] = await Promise.race([Promise.resolve().then(work).catch(error => `refused: ${error.name}`), late])
}

async function ask (url, how) {
  const answer = await fetch(url, how)
  const text = await answer.text()
  return answer.type === 'opaque' && text === '' ? 'opaque' : `read ${answer.status} ${text.trim()}`
}

function askOld (url, how = {}) {
  return new Promise(resolve => {
    const request = new XMLHttpRequest()
    request.onload = () => resolve(`read ${request.status} ${request.responseText}`)
    request.onerror = () => resolve('refused')
    request.open(how.method ?? 'GET', url)
    request.withCredentials = true
    for (const [name, value] of Object.entries(how.headers ?? {})) request.setRequestHeader(name, value)
    request.send(how.body)
  })
}

/** Loads something into an element; which of its events comes first. */
function element (tag, attributes) {
  return new Promise(resolve => {
    const it = Object.assign(document.createElement(tag), attributes)
    it.onload = it.onloadeddata = () => resolve('read')
    it.onerror = () => resolve('refused')
    document.body.append(it)
  })
}

/** What can be seen of a page that another one has opened. */
function insideOf (shown) {
  const text = shown.document.documentElement.textContent.trim()
  return text === '' ? 'nothing' : `read ${text}`
}

function frame (url) {
  return new Promise((resolve, reject) => {
    const it = document.createElement('iframe')
    it.onload = () => { try { resolve(insideOf(it.contentWindow)) } catch (error) { reject(error) } }
    it.src = url
    document.body.append(it)
  })
}

/** A form that is sent into a frame, or into a window of its own. */
function form (url, enctype, fields, window = 'frame') {
  return new Promise((resolve, reject) => {
    const shown = document.createElement('iframe')
    shown.name = `shown-${Math.random()}`
    document.body.append(shown)
    const it = Object.assign(document.createElement('form'), { action: url, method: 'post', enctype })
    it.target = window === 'frame' ? shown.name : '_blank'
    for (const [name, value] of Object.entries(fields)) it.append(Object.assign(document.createElement('input'), { name, value }))
    document.body.append(it)
    shown.onload = () => { try { resolve(insideOf(shown.contentWindow)) } catch (error) { reject(error) } }
    it.submit()
    if (window !== 'frame') setTimeout(resolve, 500, 'sent')
  })
}

/** A form whose body is JSON all the same. */
const asJson = name => ({ [`{"method":"generate_key","params":["pwned","${name}"],"id":"`]: '"}' })

function socket (Kind, url) {
  return new Promise(resolve => {
    const it = new Kind(url)
    it.onopen = it.onmessage = () => resolve('read')
    it.onerror = () => { it.close(); resolve('refused') }
  })
}

/** A page without an origin of its own. */
function sandboxed (url, body) {
  return new Promise(resolve => {
    addEventListener('message', event => resolve(event.data), { once: true })
    const it = document.createElement('iframe')
    it.sandbox = 'allow-scripts'
    it.srcdoc = `<script>fetch(${JSON.stringify(url)}, { method: 'POST', body: ${JSON.stringify(body)} })
      .then(answer => answer.text()).then(text => 'read ' + text, () => 'refused').then(it => parent.postMessage(it, '*'))<\/script>`
    document.body.append(it)
  })
}

const post = (body, type, more) => ({ method: 'POST', body, headers: type ? { 'Content-Type': type } : {}, credentials: 'include', ...more })

/** Everything that can be tried on one address. */
async function fetches (url) {
  const at = new URL(url).hostname
  await Promise.all([
    attempt(`${at} get`, () => ask(url, { credentials: 'include' })),
    attempt(`${at} get, opaque`, () => ask(url, { mode: 'no-cors', credentials: 'include' })),
    attempt(`${at} simple`, () => ask(url, post(call('a'), 'text/plain'))),
    attempt(`${at} simple, opaque`, () => ask(url, post(call('b'), 'text/plain', { mode: 'no-cors' }))),
    attempt(`${at} urlencoded, opaque`, () => ask(url, post(call('c'), 'application/x-www-form-urlencoded', { mode: 'no-cors' }))),
    attempt(`${at} multipart, opaque`, () => ask(url, post(new FormData(), undefined, { mode: 'no-cors' }))),
    attempt(`${at} without a type, opaque`, () => ask(url, post(new Blob([call('d')]), undefined, { mode: 'no-cors' }))),
    attempt(`${at} json`, () => ask(url, post(call('e'), 'application/json'))),
    attempt(`${at} json, opaque`, () => ask(url, post(call('f'), 'application/json', { mode: 'no-cors' }))),
    attempt(`${at} json with the cookie`, () => ask(url, { ...post(call('g')), headers: { 'Content-Type': 'application/json', Authorization: `Basic ${btoa(cookie)}` } })),
    attempt(`${at} the cookie in the address`, () => ask(url.replace('//', `//${cookie}@`), post(call('h'), 'text/plain', { mode: 'no-cors' }))),
    attempt(`${at} options`, () => ask(url, { method: 'OPTIONS' })),
    attempt(`${at} put`, () => ask(url, { ...post(call('i'), 'text/plain'), method: 'PUT' })),
    attempt(`${at} stop`, () => ask(url, post('{"method": "stop"}', 'text/plain', { mode: 'no-cors', keepalive: true }))),
    attempt(`${at} old`, () => askOld(url, post(call('j'), 'text/plain'))),
    attempt(`${at} old, json`, () => askOld(url, post(call('k'), 'application/json'))),
    attempt(`${at} websocket`, () => socket(WebSocket, url.replace('http', 'ws'))),
    attempt(`${at} events`, () => socket(EventSource, url)),
    attempt(`${at} beacon`, () => String(navigator.sendBeacon(url, call('l')))),
    attempt(`${at} beacon, json`, () => String(navigator.sendBeacon(url, new Blob([call('m')], { type: 'application/json' }))))
  ])
}

/** Everything but fetching. */
async function elements (url) {
  const link = Object.assign(document.createElement('a'), { href: '#', ping: url })
  document.body.append(link)
  link.click()
  await Promise.all([
    attempt('image', () => element('img', { src: url })),
    attempt('script', () => element('script', { src: url })),
    attempt('style', () => element('link', { rel: 'stylesheet', href: url })),
    attempt('video', () => element('video', { src: url })),
    attempt('object', () => element('object', { data: url })),
    attempt('module', () => import(url).then(() => 'read')),
    attempt('worker', () => socket(Worker, url)),
    attempt('frame', () => frame(url)),
    attempt('frame with the cookie', () => frame(url.replace('//', `//${cookie}@`))),
    attempt('window', async () => {
      const shown = open(url)
      await new Promise(resolve => setTimeout(resolve, 1000))
      return insideOf(shown)
    }),
    attempt('form, text', () => form(url, 'text/plain', asJson('n'))),
    attempt('form, urlencoded', () => form(url, 'application/x-www-form-urlencoded', { method: 'stop' })),
    attempt('form, multipart', () => form(url, 'multipart/form-data', { method: 'stop' })),
    attempt('form into a window', () => form(url, 'text/plain', asJson('o'), 'window')),
    attempt('form with the cookie', () => form(url.replace('//', `//${cookie}@`), 'text/plain', asJson('p'))),
    attempt('sandbox', () => sandboxed(url, call('q')))
  ])
}

/** The cookie is a file; its content must not come into a page, not even by the complaints about it. */
async function files () {
  const url = `file://${file}`
  addEventListener('error', event => { if (event.message) seen.complaint = event.message })
  await Promise.all([
    attempt('file', () => ask(url)),
    attempt('file, opaque', () => ask(url, { mode: 'no-cors' })),
    attempt('file, old', () => askOld(url)),
    attempt('file as a frame', () => frame(url)),
    attempt('file as a script', () => element('script', { src: url }).then(() => 'loaded')),
    attempt('file as a window', async () => {
      const shown = open(url)
      await new Promise(resolve => setTimeout(resolve, 1000))
      return shown === null ? 'nothing' : insideOf(shown)
    })
  ])
}

const tell = page => fetch(`${report}?${page}`, { method: 'POST', mode: 'no-cors', body: JSON.stringify(seen) })
