import type { Citation, Knowledge, Ticket, Usage } from "./api.js";
import { ParleyError } from "./errors.js";

/** What the server sends, as far as this page reads it. */
export type Frame =
  | { type: "session.ready"; session_id: string }
  | { type: "message.delta"; turn_id: string; request_id?: string; text: string }
  | {
      type: "message.done";
      turn_id: string;
      request_id?: string;
      conversation_id: string;
      message: string;
      citations: Citation[];
      model: string;
      knowledge: Knowledge;
    }
  | ({ type: "usage"; turn_id: string } & Usage)
  | { type: "error"; code: string; message: string; retryable: boolean; request_id?: string }
  | { type: "pong" }
  | { type: "session.ended" };

export type ConnectionState = "connecting" | "open" | "lost" | "closed";

export interface SocketEvents {
  state(state: ConnectionState): void;
  frame(frame: Frame): void;
  /** No ticket was given: the credentials are no good, and trying again would not help. */
  refused(error: ParleyError): void;
}

/** API Gateway closes a connection after 10 idle minutes; a ping also notices a connection that died silently. */
const PING_EVERY_MS = 60_000;
const ANSWER_WITHIN_MS = 10_000;
const RETRY_MS = { first: 500, longest: 15_000 };

/**
 * A WebSocket that comes back. Each attempt asks for a new ticket, because a ticket opens one connection and a browser
 * cannot tell a refused ticket from a failed network (it sees close code 1006 for both). The session survives.
 */
export class ParleySocket {
  private socket: WebSocket | null = null;
  private sessionId: string | undefined;
  private attempts = 0;
  private wanted = false;
  private connecting = false;
  /** Whether the session has begun on this connection. */
  private ready = false;
  private retryTimer = 0;
  private pingTimer = 0;
  private silenceTimer = 0;

  constructor(
    private readonly ticket: (sessionId?: string) => Promise<Ticket>,
    private readonly events: SocketEvents,
  ) {}

  open(): void {
    if (this.wanted) return;
    this.wanted = true;
    window.addEventListener("online", this.retryNow);
    void this.connect();
  }

  close(): void {
    this.wanted = false;
    this.sessionId = undefined;
    window.removeEventListener("online", this.retryNow);
    window.clearTimeout(this.retryTimer);
    this.drop();
    this.events.state("closed");
  }

  /** Whether the page is signed in and means to be connected. */
  get wantsConnection(): boolean {
    return this.wanted;
  }

  /** False while there is no connection with a session on it: nothing was sent. */
  send(frame: { action: string } & Record<string, unknown>): boolean {
    if (!this.ready || this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  private async connect(): Promise<void> {
    this.events.state(this.attempts === 0 ? "connecting" : "lost");
    this.connecting = true;
    let ticket: Ticket;
    try {
      ticket = await this.ticket(this.sessionId);
    } catch (error) {
      if (!this.wanted) return;
      const code = error instanceof ParleyError ? error.code : "";
      if (code === "unauthorized" || code === "forbidden") {
        this.events.refused(error as ParleyError);
        return;
      }
      // The session has ended meanwhile: the next ticket begins another.
      if (code === "not_found") this.sessionId = undefined;
      this.retryLater();
      return;
    } finally {
      this.connecting = false;
    }
    if (!this.wanted) return;
    this.sessionId = ticket.session_id;
    const url = new URL(`/ws?ticket=${encodeURIComponent(ticket.ticket)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.socket = socket;
    this.expectFrame();
    socket.addEventListener("open", () =>
      socket.send(JSON.stringify({ action: "session.start", session_id: ticket.session_id })),
    );
    socket.addEventListener("message", (event) => this.receive(event));
    socket.addEventListener("close", () => {
      if (this.socket === socket) this.lost();
    });
  }

  private receive(event: MessageEvent): void {
    window.clearTimeout(this.silenceTimer);
    const frame = parse(String(event.data));
    if (!frame) return;
    if (frame.type === "session.ready") {
      this.attempts = 0;
      this.ready = true;
      window.clearInterval(this.pingTimer);
      this.pingTimer = window.setInterval(() => this.ping(), PING_EVERY_MS);
      this.events.state("open");
    }
    this.events.frame(frame);
  }

  private ping(): void {
    if (this.send({ action: "ping" })) this.expectFrame();
  }

  private expectFrame(): void {
    window.clearTimeout(this.silenceTimer);
    this.silenceTimer = window.setTimeout(() => this.lost(), ANSWER_WITHIN_MS);
  }

  private lost(): void {
    this.drop();
    if (this.wanted) this.retryLater();
  }

  private drop(): void {
    window.clearInterval(this.pingTimer);
    window.clearTimeout(this.silenceTimer);
    const socket = this.socket;
    this.ready = false;
    this.socket = null;
    socket?.close();
  }

  private retryLater(): void {
    this.events.state("lost");
    const ceiling = Math.min(RETRY_MS.longest, RETRY_MS.first * 2 ** this.attempts++);
    window.clearTimeout(this.retryTimer);
    this.retryTimer = window.setTimeout(() => void this.connect(), ceiling * (0.5 + Math.random() / 2));
  }

  private readonly retryNow = (): void => {
    if (!this.wanted || this.socket || this.connecting) return;
    window.clearTimeout(this.retryTimer);
    void this.connect();
  };
}

/** Null for what is no frame. API Gateway's own errors (`{"message"}`, when a route fails) become errors like ours. */
function parse(data: string): Frame | null {
  let frame: Partial<Frame> & { message?: string };
  try {
    frame = JSON.parse(data) as typeof frame;
  } catch {
    return null;
  }
  if (frame.type) return frame as Frame;
  const code = frame.message === "Too Many Requests" ? "throttled" : "internal";
  return frame.message ? { type: "error", code, message: frame.message, retryable: true } : null;
}
