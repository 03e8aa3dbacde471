// Bob's pane: offers, the conversations he holds, and what he can do with the one in front of him.

import { uuid } from './switchboard.js'
import { work } from './worker.js'
import { $, el, showStatus, Talk, Typing } from './dom.js'

// agent runs the pane over client; log is told of what only staff sees.
export function agent(client, log) {
  const talk = new Talk($('agent-talk'), 'human', 'Bob'), typing = new Typing($('agent-typing'))
  const form = $('agent-form'), text = $('agent-text'), note = $('agent-note'), ready = $('agent-ready')
  const acts = [$('agent-transfer'), $('agent-release'), $('agent-close')]
  const entries = new Map() // assignment → its transcript
  let front = null // the assignment shown
  let told = '' // what just happened, until something else does

  client.on('status', status => {
    showStatus($('agent-status'), status)
    showState()
  })
  const desk = work(client, { queues: ['default'], slots: 3, window: 16 })
  desk.on('error', err => { told = err.message; showState() })

  desk.on('offer', o => {
    const who = o.summary?.name || o.summary?.customer || 'A customer'
    const button = (label, className, act) => {
      const b = el('button', { type: 'button', className, textContent: label })
      b.addEventListener('click', () => {
        for (const other of row.querySelectorAll('button')) other.disabled = true
        act().catch(err => { told = err.message; row.remove(); showState() })
      })
      return b
    }
    const row = el('li', {}, el('span', { textContent: `${who} waits in “${o.queue}”${o.summary?.note ? `: ${o.summary.note}` : ''}` }))
    row.dataset.offer = o.offer
    row.append(button('Accept', 'yes', o.accept), button('Decline', '', () => o.decline('not now')))
    $('offers').append(row)
    told = ''
    showState()
  })
  desk.on('offer_ended', e => {
    $('offers').querySelector(`[data-offer="${CSS.escape(e.offer)}"]`)?.remove()
    if (e.reason === 'expired' || e.reason === 'rescinded') told = `An offer was ${e.reason}.`
    showState()
  })

  desk.on('assigned', a => {
    const list = []
    entries.set(a, list)
    a.on('entry', e => {
      list.push(e)
      log.add({ ...e, session: a.id })
      if (a !== front) return
      talk.add(e)
      typing.clear()
    })
    a.on('typing', p => a === front && typing.show(p))
    told = ''
    show(a)
  })
  desk.on('ended', (a, why) => {
    entries.delete(a)
    told = { released: 'Released.', transfer: 'Handed on.', closed: 'Closed.', lease: 'The connection was away too long; somebody else has it.' }[why] ?? `Ended: ${why}.`
    if (a === front) show(desk.assignments.values().next().value ?? null)
    else showTabs()
  })
  desk.on('presence', showState)

  function show(a) {
    front = a
    talk.empty()
    typing.clear()
    for (const e of entries.get(a) ?? []) talk.add(e)
    for (const b of [...acts, text, note, form.querySelector('button')]) b.disabled = !a
    showTabs()
    showState()
    if (a) text.focus({ preventScroll: true })
  }
  function showTabs() {
    const all = [...desk.assignments.values()]
    $('agent-tabs').replaceChildren(...(all.length < 2 ? [] : all.map(a => {
      const tab = el('button', { type: 'button', textContent: a.customer?.name || a.customer?.id || a.id })
      tab.setAttribute('aria-pressed', a === front)
      tab.addEventListener('click', () => show(a))
      return tab
    })))
  }
  function showState() {
    ready.checked = desk.state === 'ready'
    const n = $('offers').childElementCount
    $('agent-state').textContent = front ? `With ${front.customer?.name || front.customer?.id || 'a customer'}, assignment ${front.ae}.`
      : n ? `${n === 1 ? 'An offer' : `${n} offers`} for you.` : `${told ? `${told} ` : ''}${desk.state === 'ready' ? 'Ready; nobody needs a human.' : 'Away; offers go to others.'}`
  }
  const refused = promise => promise.catch(err => { told = err.message; $('agent-state').textContent = err.message })

  form.addEventListener('submit', ev => {
    ev.preventDefault()
    const words = text.value.trim(), a = front
    if (!words || !a) return
    typing.done(a)
    // A key of its own: Bob may say several things about one word of the customer [SW-5.5].
    const more = note.checked ? { visibility: 'staff' } : { ack: a.delivered || undefined } // a note answers nobody
    talk.waiting(words, a.reply('text', { text: words }, { key: uuid(), ...more }))
    text.value = ''
    note.checked = false
  })
  text.addEventListener('input', () => typing.tell(front))
  acts[0].addEventListener('click', () => refused(front.transfer({ queue: front.queue }, { note: 'from the demo page' })))
  acts[1].addEventListener('click', async () => {
    const a = front
    if (a.delivered > a.cursor) await refused(a.ack()) // read, and needs no answer
    await refused(a.release('solved', { upto: a.delivered || undefined }))
  })
  acts[2].addEventListener('click', () => refused(front.close('solved', { upto: front.delivered || undefined })))
  ready.addEventListener('change', () => refused(desk.presence(ready.checked ? 'ready' : 'away').then(showState)))
  show(null)
}
