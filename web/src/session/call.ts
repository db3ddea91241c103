import type { Ticket } from "../api/api.js";
import { decodePcm } from "../audio/format.js";
import type { Progress } from "../audio/queue.js";
import { ParleyError } from "../errors.js";
import type { EndReason, FromServer, SessionReady, SessionStart, Text } from "../protocol/messages.js";
import { Connection, type ConnectionState } from "./connection.js";
import { Frames } from "./frames.js";
import { Store } from "./store.js";
import type { Transcript } from "./transcript.js";

export interface AudioListener {
  /** A frame of the service's format from the microphone, and how loud it was (0 to 1). */
  captured(pcm: Int16Array, level: number): void;
  played(report: Progress & { level: number; stopped: boolean }): void;
  microphoneLost(): void;
}

/** The microphone and the loudspeaker while a call uses them. */
export interface AudioDevices {
  play(turnId: string, pcm: Int16Array<ArrayBuffer>): void;
  /** Falls silent at once, and drops what is queued of the turn, or of every turn. */
  stop(turnId?: string): void;
  mute(muted: boolean): void;
  close(): void;
}

/** What a call needs from outside. */
export interface CallParts {
  /** Opens the devices. Throws `ParleyError`. */
  audio(listener: AudioListener): Promise<AudioDevices>;
  ticket(sessionId?: string): Promise<Ticket>;
  socket(ticket: string): WebSocket;
  /** The credentials are no good any more. */
  refused(error: ParleyError): void;
  /** The call is over; an error says why when the user did not end it. */
  ended(error?: ParleyError): void;
  /** The service says which conversation this is, or that a turn of it is stored. */
  stored(conversationId: string): void;
}

export type Phase = "idle" | "starting" | "connecting" | "live" | "lost" | "ending";
/** `assistant` is heard, `user` speaks, `thinking`: the assistant is about to answer. */
export type Speaker = "nobody" | "user" | "thinking" | "assistant";

export interface CallState {
  phase: Phase;
  speaker: Speaker;
  muted: boolean;
  engine?: string | undefined;
}

const PING_EVERY_MS = 5_000;
const ANSWER_WITHIN_MS = 5_000;
const PLAYED_EVERY_MS = 2_000;
/** How long hanging up waits for the service's last words. */
const GOODBYE_MS = 2_000;
/** The loudness of a voice; quieter is a room. */
const VOICE_LEVEL = 0.02;
/** Words have pauses. */
const VOICE_HOLD_FRAMES = 6;
/** Times that the service may say in a row that it cannot speak now. */
const LARGEST_REFUSALS = 5;

/** What ends a call for good, as the error that the user is told. */
const END_CODES: Record<Exclude<EndReason, "ended">, string> = {
  idle: "call_idle",
  replaced: "call_replaced",
  taken_over: "call_replaced",
  flood: "call_flood",
  failed: "call_failed",
  limit: "call_limit",
};
/** Errors after which the same session is worth another attempt over a new connection. */
const TRY_AGAIN = new Set(["session_unavailable", "engine_unavailable", "session_not_started"]);
const FATAL = new Set(["language_unsupported", "audio_flood", "engine_unknown", "quota_exceeded"]);

/**
 * One spoken conversation: a session of its own, over a connection that may break and come back, with the microphone
 * and the loudspeaker open all the while. Everything it needs comes from `CallParts`; it knows no browser.
 */
export class Call implements AudioListener {
  readonly store = new Store<CallState>({ phase: "idle", speaker: "nobody", muted: false });
  /** How loud either side is, 0 to 1. Apart, because it changes ten times a second. */
  readonly levels = new Store<{ user: number; assistant: number }>({ user: 0, assistant: 0 });

  private devices: AudioDevices | null = null;
  private connection: Connection | null = null;
  private frames = this.newFrames();
  private conversationId: string | undefined;
  private language: string | undefined;
  private readonly spoken = new SpokenTurns();
  private typed: { text: Text; sent: boolean }[] = [];
  private reported = { turnId: "", ms: 0 };
  private voiceFrames = 0;
  private refusals = 0;
  private goodbye: ReturnType<typeof setTimeout> | undefined;
  /** Grows with every call, so that what an earlier one still waits for is not taken for this one's. */
  private number = 0;

  constructor(
    private readonly parts: CallParts,
    private readonly transcript: Transcript,
  ) {}

  get active(): boolean {
    return !["idle", "ending"].includes(this.store.get().phase);
  }

  /** Call from a click or a key press: browsers give no sound without one. */
  async start(conversationId?: string, language?: string): Promise<void> {
    if (this.active) return;
    this.finish();
    const number = ++this.number;
    this.conversationId = conversationId;
    this.language = language;
    this.store.set({ phase: "starting", speaker: "nobody", muted: false, engine: undefined });
    let devices: AudioDevices;
    try {
      devices = await this.parts.audio(this);
    } catch (error) {
      if (number === this.number) this.end(error instanceof ParleyError ? error : new ParleyError("audio_failed", String(error), true));
      return;
    }
    if (number !== this.number) return devices.close();
    this.devices = devices;
    this.connection = this.newConnection();
    this.connection.open();
  }

  hangUp(): void {
    if (!this.active) return;
    this.closeDevices();
    // The service stores what was said last; its answer to that still belongs into the transcript.
    if (!this.connection?.send({ action: "session.end" })) return this.end();
    this.store.set({ phase: "ending", speaker: "nobody" });
    this.goodbye = setTimeout(() => this.end(), GOODBYE_MS);
  }

  /** Hang up without waiting for the last words: another conversation is shown from now on. */
  leave(): void {
    if (this.store.get().phase === "idle") return;
    this.connection?.send({ action: "session.end" });
    this.end();
  }

  mute(muted: boolean): void {
    this.devices?.mute(muted);
    this.store.set({ muted });
  }

  /** Write into the call: it is answered aloud. */
  say(message: string): void {
    const text: Text = { action: "text", message, request_id: crypto.randomUUID() };
    if (this.conversationId) text.conversation_id = this.conversationId;
    this.transcript.put(`${text.request_id}/user`, { role: "user", medium: "voice", text: message, state: "done" });
    this.typed.push({ text, sent: this.connection?.send(text) ?? false });
    this.store.set({ speaker: "thinking" });
  }

  /** The network is back. */
  retryNow(): void {
    this.connection?.retryNow();
  }

  captured(pcm: Int16Array, level: number): void {
    if (!this.devices && this.store.get().phase !== "starting") return;
    this.frames.push(pcm);
    this.levels.set({ user: level });
    this.voiceFrames = level >= VOICE_LEVEL ? VOICE_HOLD_FRAMES : Math.max(0, this.voiceFrames - 1);
    const { speaker } = this.store.get();
    if (this.voiceFrames && (speaker === "nobody" || speaker === "thinking")) this.store.set({ speaker: "user" });
    if (!this.voiceFrames && speaker === "user") this.store.set({ speaker: "nobody" });
  }

  played({ turnId, ms, drained, stopped, level }: Parameters<AudioListener["played"]>[0]): void {
    this.levels.set({ assistant: drained ? 0 : level });
    this.speakerIs(drained ? "nobody" : "assistant");
    if (turnId !== this.reported.turnId) this.reported = { turnId, ms: 0 };
    if (ms <= this.reported.ms || !(drained || stopped || ms - this.reported.ms >= PLAYED_EVERY_MS)) return;
    this.reported.ms = ms;
    this.connection?.send({ action: "played", turn_id: turnId, ms: Math.round(ms) });
  }

  microphoneLost(): void {
    if (this.active) this.end(new ParleyError("microphone_lost", "The microphone was unplugged.", false));
  }

  private newConnection(): Connection {
    const { ticket, socket } = this.parts;
    const options = {
      ticket,
      open: socket,
      start: (sessionId: string) => this.startMessage(sessionId),
      pingEveryMs: PING_EVERY_MS,
      answerWithinMs: ANSWER_WITHIN_MS,
    };
    return new Connection(options, {
      state: (state) => this.connectionIs(state),
      ready: (message) => this.ready(message),
      message: (message) => this.receive(message),
      refused: (error) => {
        this.end();
        this.parts.refused(error);
      },
      // A call that has begun waits for it: nothing that was said is lost.
      delayed: (error) => {
        if (this.store.get().phase === "connecting") this.end(error);
      },
      sessionLost: () => this.frames.restart(),
    });
  }

  private newFrames(): Frames {
    return new Frames((frame) => this.connection?.send(frame) ?? false);
  }

  private startMessage(sessionId: string): SessionStart {
    return {
      action: "session.start",
      medium: "voice",
      session_id: sessionId,
      last_seq: this.frames.lastSent,
      ...(this.conversationId && { conversation_id: this.conversationId }),
      ...(this.language && { language: this.language }),
    };
  }

  private connectionIs(state: ConnectionState): void {
    const { phase } = this.store.get();
    if (state === "lost" && phase === "ending") return this.end();
    if (state === "connecting") this.store.set({ phase: "connecting" });
    if (state === "lost" && phase !== "starting") this.store.set({ phase: "lost" });
  }

  private ready({ conversation_id, engine, next_seq }: SessionReady): void {
    this.store.set({ phase: "live", engine: engine ?? undefined });
    if (conversation_id) this.conversationIs(conversation_id);
    this.frames.resume(next_seq ?? this.frames.lastSent + 1);
    // What the service has not begun to answer; its `request_id` makes a repetition harmless.
    for (const typed of this.typed) typed.sent = this.connection?.send(typed.text) ?? false;
  }

  private conversationIs(conversationId: string): void {
    this.conversationId = conversationId;
    this.parts.stored(conversationId);
  }

  private receive(message: FromServer): void {
    switch (message.type) {
      case "ack":
        this.refusals = 0;
        return this.frames.acknowledge(message.seq);
      case "resend":
        return this.frames.resend(message.from, message.to);
      case "audio":
        return this.audio(message.turn_id, message.data);
      case "transcript": {
        const { turn_id, role, final } = message;
        if (role === "user" && final) this.adopt(turn_id, message.text);
        const text = this.spoken.text(message);
        this.transcript.put(`${turn_id}/${role}`, { role, medium: "voice", text, state: role === "user" && final ? "done" : "writing" });
        if (role === "user" && final) this.speakerIs("thinking");
        return;
      }
      case "interrupted":
        this.spoken.interrupt(message.turn_id);
        this.devices?.stop(message.turn_id);
        this.transcript.update(`${message.turn_id}/assistant`, { interrupted: true });
        return;
      case "tool": {
        const key = `${message.turn_id}/assistant`;
        if (!this.transcript.find(key)) this.transcript.put(key, { role: "assistant", medium: "voice", state: "waiting" });
        return this.transcript.tool(key, message);
      }
      case "message.done": {
        const { turn_id, message: text, citations, model, knowledge } = message;
        const shown = { text, citations, model, knowledge, state: "done" } as const;
        this.transcript.put(`${turn_id}/assistant`, { role: "assistant", medium: "voice", ...shown });
        this.transcript.update(`${turn_id}/user`, { state: "done" });
        this.typed = this.typed.filter(({ text: { request_id } }) => request_id !== message.request_id);
        return this.conversationIs(message.conversation_id);
      }
      case "usage": {
        const { input_tokens, output_tokens, cost_usd } = message;
        this.transcript.update(`${message.turn_id}/assistant`, { usage: { input_tokens, output_tokens, cost_usd } });
        return;
      }
      case "error":
        return this.failed(
          new ParleyError(message.code, message.message, message.retryable, message.retry_after),
          message.request_id,
        );
      case "session.ended": {
        const reason = message.reason ?? "ended";
        const code = reason === "ended" ? undefined : END_CODES[reason];
        return this.end(code && this.active ? new ParleyError(code, `The session ended: ${reason}.`, false) : undefined);
      }
      default:
        return;
    }
  }

  private audio(turnId: string, data: string): void {
    // What was sent before the service noticed the interruption.
    if (this.spoken.isInterrupted(turnId)) return;
    try {
      this.devices?.play(turnId, decodePcm(data));
    } catch {
      // Not base64: silence is better than the end of the call.
    }
  }

  /** The service begins to answer a text that was typed here: it has a turn now. */
  private adopt(turnId: string, text: string): void {
    const typed = this.typed.find((one) => one.sent && one.text.message === text);
    if (!typed) return;
    this.typed = this.typed.filter((one) => one !== typed);
    this.transcript.rename(`${typed.text.request_id}/user`, `${turnId}/user`);
  }

  private failed(error: ParleyError, requestId?: string | null): void {
    const typed = this.typed.find(({ text }) => text.request_id === requestId);
    if (typed) {
      this.typed = this.typed.filter((one) => one !== typed);
      this.transcript.update(`${requestId}/user`, { state: "failed", error });
      this.speakerIs("nobody");
    } else if (FATAL.has(error.code)) {
      this.end(error);
    } else if (TRY_AGAIN.has(error.code)) {
      this.refusals += 1;
      if (this.refusals > LARGEST_REFUSALS) this.end(error);
      else this.connection?.retry();
    }
    // Anything else is about one message, and the call goes on.
  }

  private speakerIs(speaker: Speaker): void {
    if (this.store.get().phase !== "ending" && this.store.get().speaker !== speaker) this.store.set({ speaker });
  }

  private end(error?: ParleyError): void {
    this.finish();
    this.store.set({ phase: "idle", speaker: "nobody", muted: false });
    this.parts.ended(error);
  }

  /** Leaves everything behind as before a call. */
  private finish(): void {
    this.number += 1;
    clearTimeout(this.goodbye);
    this.closeDevices();
    const connection = this.connection;
    this.connection = null;
    connection?.close();
    this.frames.close();
    this.frames = this.newFrames();
    this.spoken.clear();
    this.typed = [];
    this.reported = { turnId: "", ms: 0 };
    this.voiceFrames = 0;
    this.refusals = 0;
    for (const { key, medium, state } of this.transcript.store.get().messages) {
      if (medium === "voice" && (state === "writing" || state === "waiting")) this.transcript.update(key, { state: "done" });
    }
  }

  private closeDevices(): void {
    this.devices?.close();
    this.devices = null;
    this.levels.set({ user: 0, assistant: 0 });
  }
}

/** What has been said in the turns of a call. */
class SpokenTurns {
  private readonly settled = new Map<string, string>();
  private readonly interrupted = new Set<string>();

  /** All of a turn's words so far: final pieces stay, and what is not final is replaced by the next. */
  text({ turn_id, role, text, final }: { turn_id: string; role: string; text: string; final: boolean }): string {
    const key = `${turn_id}/${role}`;
    const before = this.settled.get(key) ?? "";
    // A service may repeat what is settled, or send only what follows.
    const whole = !before || text.startsWith(before) ? text : `${before} ${text}`;
    if (final) this.settled.set(key, whole);
    return whole;
  }

  interrupt(turnId: string): void {
    this.interrupted.add(turnId);
  }

  isInterrupted(turnId: string): boolean {
    return this.interrupted.has(turnId);
  }

  clear(): void {
    this.settled.clear();
    this.interrupted.clear();
  }
}
