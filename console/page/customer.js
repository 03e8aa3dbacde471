// Alice's pane: one session, opened or found again.

import { uuid } from './switchboard.js'
import { $, showStatus, Talk, Typing } from './dom.js'

const states = {
  new: () => 'Nobody is on it; say something.',
  queued: s => `Waiting in the queue${s.position ? `, place ${s.position}` : ''}${s.eta_ms?.length === 2 ? `, about ${Math.round(s.eta_ms[0] / 1000)} to ${Math.round(s.eta_ms[1] / 1000)} seconds` : ''}${s.opens_at ? `; we open at ${new Date(s.opens_at).toLocaleString()}` : ''}.`,
  assigned: s => `${s.worker?.name || (s.worker?.kind === 'bot' ? 'The bot' : s.worker ? 'An agent' : 'Somebody')} is answering.`,
  closed: () => 'Closed. Say something to open it again.'
}

// customer runs the pane over client; log is told of everything.
export async function customer(client, log) {
  const talk = new Talk($('customer-talk'), 'customer', 'Alice'), typing = new Typing($('customer-typing'))
  const form = $('customer-form'), text = $('customer-text')
  client.on('status', status => showStatus($('customer-status'), status))

  const session = await client.open({ channel: 'web', tail: 100 })
  const showState = s => {
    const line = (states[s.state] ?? (() => s.state))(s)
    $('customer-state').textContent = line
    log.state(session, s)
  }
  let worker = session.state.worker // who answers: the state names him at the attachment, the log afterwards
  const head = session.state.head ?? 0 // what lies before is the past, and says nothing about the state
  session.on('state', s => showState({ worker, ...s }))
  session.on('entry', e => {
    talk.add(e)
    log.add(e)
    typing.clear()
    if (e.type === 'session.assigned' && e.seq > head) {
      worker = e.body
      showState({ ...session.state, state: 'assigned', worker })
    } else log.state(session)
    session.ack(e.seq, e.seq)
  })
  session.on('stream', s => talk.running(s))
  session.on('typing', p => typing.show(p))
  session.on('truncated', ({ at }) => { talk.clear(at); log.clear(at) })
  session.on('reset', () => { talk.clear(); log.clear() })
  showState(session.state)

  const say = words => {
    typing.done(session)
    talk.waiting(words, session.send('text', { text: words }, { key: uuid() }))
  }
  form.addEventListener('submit', ev => {
    ev.preventDefault()
    const words = text.value.trim()
    if (words) say(words)
    text.value = ''
  })
  text.addEventListener('input', () => typing.tell(session))
  for (const chip of document.querySelectorAll('.chip')) chip.addEventListener('click', () => say(chip.textContent))
}
