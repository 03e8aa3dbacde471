// Types of worker.js.

import type { Author, Client, Emitter, Entry, Feed, Range, Session, SessionEvents, SwitchboardError, Written } from './switchboard.js'

export interface Delivery extends Entry { ae: number; attempt?: number }

export interface Say { ack?: number; key?: string; visibility?: 'public' | 'staff'; reply_to?: number; stream?: string }

export interface Writer {
  readonly id: string
  readonly text: string
  write(text: string): void
  end(type?: string, body?: any, more?: Say): Promise<Written>
}

export class Assignment extends Feed<Pick<SessionEvents, 'typing' | 'receipt'>> {
  readonly id: string
  readonly ae: number
  readonly queue: string
  readonly reason: 'route' | 'sticky' | 'overflow' | 'transfer' | 'requeue'
  readonly customer: Author
  readonly attributes?: Record<string, any>
  readonly context: { v: number; doc?: any }
  readonly tail: Entry[]
  readonly cursor: number
  readonly delivered: number
  readonly signal: AbortSignal
  reply(type: string, body: any, more?: Say): Promise<Written>
  stream(id?: string): Writer
  ack(seq?: number): Promise<void>
  nack(seq: number, more?: { delay_ms?: number; reason?: string; key?: string }): Promise<Written>
  transfer(to: { queue: string } | { worker: string }, more?: { note?: string; context?: any; upto?: number; key?: string }): Promise<Written>
  release(outcome: string, more?: { summary?: string; tags?: string[]; upto?: number; key?: string }): Promise<Written>
  close(reason?: string, more?: { upto?: number; key?: string }): Promise<Written>
  invite(worker: string, as: 'assist' | 'consult' | 'barge', more?: { note?: string; key?: string }): Promise<Written>
  patch(patch: any, key?: string): Promise<{ v: number }>
  wrapup(): Promise<Written>
  typing(on?: boolean): void
  history(range?: Range): Promise<{ entries?: Entry[]; more: boolean }>
}

export interface Offer {
  offer: string; session: string; queue: string; expires_ms: number; summary?: any
  accept(): Promise<{ session: string; ae: number }>
  decline(reason?: string): Promise<void>
}

export interface Question {
  session: string; queue: string; expires_ms: number; customer: Author; shop?: string
  attributes?: Record<string, any>; attributes_v: number; head: number; tail: Entry[]
  answer(patch: any, key?: string): Promise<{ v: number }>
}

export interface Invitation {
  session: string; as: 'assist' | 'consult' | 'barge'; by: string; note?: string; queue: string; expires_ms: number; summary?: any
  join(): Promise<Guest>
  decline(): Promise<void>
}

export class Guest extends Session {
  readonly ge: number
  reply(type: string, body: any, more?: { key?: string; visibility?: 'public' | 'staff'; reply_to?: number }): Promise<Written>
}

export function join(client: Client, session: string, as?: 'monitor' | 'assist' | 'consult' | 'barge'): Promise<Guest>

export class Worker extends Emitter<{
  ready: [any]; assigned: [Assignment]; delivery: [Delivery, Assignment]; offer: [Offer]
  classify: [Question]; invited: [Invitation]
  offer_ended: [{ offer: string; reason: string }]; revoked: [{ session: string; ae: number; reason: string }, Assignment]
  ended: [Assignment, string]; presence: [{ state: string; reason?: string }]; error: [SwitchboardError | Error, Assignment?]
}> {
  readonly assignments: Map<string, Assignment>
  readonly offers: Map<string, Offer>
  readonly state: string
  presence(state: 'ready' | 'away' | 'draining', reason?: string): Promise<any>
  slots(slots: number): Promise<any>
}

export interface Subscription {
  queues: string[]; slots: number; window?: number; skills?: Record<string, number>; instance?: string
  classify?: (question: Question) => any
  invited?: (invitation: Invitation) => boolean | Promise<boolean>
  accept?: boolean | ((offer: Offer) => boolean | Promise<boolean>)
}

export function work(client: Client, options: Subscription, handler?: (delivery: Delivery, assignment: Assignment) => unknown): Worker
