// A real node as a process of its own, for the tests that SWITCHBOARD_BIN turns on [SW-8].

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const bin = process.env.SWITCHBOARD_BIN
export const skip = bin ? false : 'SWITCHBOARD_BIN does not name the switchboard binary'

export class Process {
  data = mkdtempSync(join(tmpdir(), 'switchboard-'))
  constructor(t, ...command) {
    this.command = command
    t.after(() => {
      this.child?.kill('SIGKILL')
      rmSync(this.data, { recursive: true, force: true })
    })
  }
  // start runs the node until the test ends, and returns once it logs the address it serves. A restart keeps the address.
  async start() {
    const args = [...this.command, '--data', this.data, '--listen', this.addr ?? '127.0.0.1:0']
    const child = this.child = spawn(bin, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let log = ''
    this.exited = new Promise(go => child.on('exit', (code, signal) => go({ code, signal })))
    this.addr = await new Promise((go, no) => {
      child.stderr.on('data', b => {
        log += b
        const m = /"?\baddr"?[=:]\s*"?([^\s",]+:\d+)/.exec(log)
        if (m) go(m[1])
      })
      child.on('error', no)
      child.on('exit', code => no(new Error(`${bin} ${args.join(' ')} ended with ${code}: ${log}`)))
    })
  }
  // kill is what a power cut is to the process.
  async kill() {
    this.child.kill('SIGKILL')
    return this.exited
  }
  // stop asks it to drain and go [SW-8.1].
  async stop() {
    this.child.kill('SIGTERM')
    return this.exited
  }
  token(role, sub, ...more) {
    return execFileSync(bin, ['token', '--data', this.data, '--tenant', 'demo', '--role', role, '--sub', sub, ...more], { encoding: 'utf8' }).trim()
  }
  get url() { return `http://${this.addr}` }
}

// until resolves with the first true value that value() has after any of the events of the emitters.
export function until(emitters, value) {
  return new Promise(go => {
    const offs = []
    const look = () => {
      const v = value()
      if (!v) return
      for (const off of offs) off()
      go(v)
    }
    for (const [emitter, ...types] of emitters) for (const type of types) offs.push(emitter.on(type, look))
    look()
  })
}
