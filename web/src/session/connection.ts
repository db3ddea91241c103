import type { Ticket } from "../api/api.js";
import { ParleyError } from "../errors.js";
import { type FromClient, type FromServer, type SessionReady, type SessionStart, parse } from "../protocol/messages.js";

export type ConnectionState = "connecting" | "open" | "lost" | "closed";

export interface ConnectionEvents {
  state(state: ConnectionState): void;
  /** The session has begun on this connection, or goes on. */
  ready(message: SessionReady): void;
  message(message: FromServer): void;
  /** No ticket was given: the credentials are no good, and trying again would not help. */
  refused(error: ParleyError): void;
  /** Tickets are given again only at the error's `retryAt`; the next attempt waits for that. */
  delayed?(error: ParleyError): void;
  /** The session does not exist any more; the next attempt begins another. */
  sessionLost?(): void;
}

export interface ConnectionOptions {
  ticket(sessionId?: string): Promise<Ticket>;
  /** The socket for a ticket. */
  open(ticket: string): WebSocket;
  /** The first message of a connection. */
  start(sessionId: string): SessionStart;
  pingEveryMs: number;
  /** Everything that is asked is answered within this time, or the connection is dead. */
  answerWithinMs: number;
}

/** An authorizer that starts cold takes a second or two before the socket opens. */
const OPEN_WITHIN_MS = 10_000;
const RETRY_MS = { first: 500, longest: 15_000 };

/**
 * A WebSocket that comes back. Each attempt asks for a new ticket, because a ticket opens one connection and a browser
 * cannot tell a refused ticket from a failed network (it sees close code 1006 for both). The session survives.
 */
export class Connection {
  private socket: WebSocket | null = null;
  private sessionId: string | undefined;
  private attempts = 0;
  private wanted = false;
  private connecting = false;
  /** Whether the session has begun on this connection. */
  private isReady = false;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private pingTimer: ReturnType<typeof setInterval> | undefined;
  private silenceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly events: ConnectionEvents,
  ) {}

  open(): void {
    if (this.wanted) return;
    this.wanted = true;
    void this.connect();
  }

  close(): void {
    this.wanted = false;
    this.sessionId = undefined;
    clearTimeout(this.retryTimer);
    this.drop();
    this.events.state("closed");
  }

  /** Whether it means to be connected. */
  get wantsConnection(): boolean {
    return this.wanted;
  }

  /** False while there is no connection with a session on it: nothing was sent. */
  send(message: FromClient): boolean {
    if (!this.isReady || this.socket?.readyState !== OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Try at once rather than later: the network is back. */
  readonly retryNow = (): void => {
    if (!this.wanted || this.socket || this.connecting) return;
    clearTimeout(this.retryTimer);
    void this.connect();
  };

  /** Leave this connection and come back over another, with growing pauses. */
  retry(): void {
    this.drop();
    if (this.wanted) this.retryLater();
  }

  private async connect(): Promise<void> {
    this.events.state(this.attempts === 0 ? "connecting" : "lost");
    this.connecting = true;
    let ticket: Ticket;
    try {
      ticket = await this.options.ticket(this.sessionId);
    } catch (error) {
      if (!this.wanted) return;
      const code = error instanceof ParleyError ? error.code : "";
      if (code === "unauthorized" || code === "forbidden") {
        this.events.refused(error as ParleyError);
        return;
      }
      if (code === "not_found") {
        this.sessionId = undefined;
        this.events.sessionLost?.();
      }
      const seconds = (error instanceof ParleyError && error.retryAfter) || 0;
      if (code === "throttled" && seconds) this.events.delayed?.(error as ParleyError);
      // Whoever hears of it may have closed the connection.
      if (this.wanted) this.retryLater(1_000 * seconds);
      return;
    } finally {
      this.connecting = false;
    }
    if (!this.wanted) return;
    this.sessionId = ticket.session_id;
    const socket = this.options.open(ticket.ticket);
    this.socket = socket;
    this.expectMessage(OPEN_WITHIN_MS);
    socket.addEventListener("open", () => {
      if (this.socket !== socket) return;
      socket.send(JSON.stringify(this.options.start(ticket.session_id)));
      this.expectMessage();
    });
    socket.addEventListener("message", (event) => {
      if (this.socket === socket) this.receive(String(event.data));
    });
    socket.addEventListener("close", () => {
      if (this.socket === socket) this.retry();
    });
  }

  private receive(data: string): void {
    const message = parse(data);
    if (!message) return;
    // Until the session is ready nothing else is an answer: a connection that never gets there must not linger.
    if (this.isReady || message.type === "session.ready") this.expectNothing();
    if (message.type === "session.ready") {
      this.attempts = 0;
      this.isReady = true;
      clearInterval(this.pingTimer);
      this.pingTimer = setInterval(() => this.ping(), this.options.pingEveryMs);
      this.events.state("open");
      this.events.ready(message);
    }
    this.events.message(message);
  }

  private ping(): void {
    // A ping that is not answered yet must not give the connection more time.
    if (this.send({ action: "ping" }) && this.silenceTimer === undefined) this.expectMessage();
  }

  private expectMessage(withinMs: number = this.options.answerWithinMs): void {
    this.expectNothing();
    this.silenceTimer = setTimeout(() => this.retry(), withinMs);
  }

  private expectNothing(): void {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = undefined;
  }

  private drop(): void {
    clearInterval(this.pingTimer);
    this.expectNothing();
    const socket = this.socket;
    this.isReady = false;
    this.socket = null;
    socket?.close();
  }

  private retryLater(atLeastMs = 0): void {
    this.events.state("lost");
    const ceiling = Math.min(RETRY_MS.longest, RETRY_MS.first * 2 ** this.attempts++);
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => void this.connect(), atLeastMs + ceiling * (0.5 + Math.random() / 2));
  }
}

/** `WebSocket.OPEN`, as a number: tests bring a socket class of their own. */
const OPEN = 1;
