import type { FromClient, FromServer } from "../src/protocol/messages.js";

/** A socket whose other end is the test. */
export class FakeSocket extends EventTarget {
  readyState = 0;
  readonly sent: FromClient[] = [];

  constructor(readonly ticket: string) {
    super();
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data) as FromClient);
  }

  close(): void {
    this.readyState = 3;
  }

  opens(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  says(message: FromServer): void {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
  }

  /** The network breaks, or the ticket is refused: a browser sees 1006 for both. */
  breaks(): void {
    this.readyState = 3;
    this.dispatchEvent(new Event("close"));
  }

  of<A extends FromClient["action"]>(action: A): Extract<FromClient, { action: A }>[] {
    return this.sent.filter((message): message is Extract<FromClient, { action: A }> => message.action === action);
  }
}

/** Tickets and the sockets that they open. */
export class FakeNetwork {
  readonly sockets: FakeSocket[] = [];
  /** The session that each ticket was asked for. */
  readonly asked: (string | undefined)[] = [];
  failure: Error | null = null;
  private sessions = 0;

  readonly ticket = async (sessionId?: string) => {
    this.asked.push(sessionId);
    if (this.failure) throw this.failure;
    return { ticket: `ticket-${this.asked.length}`, session_id: sessionId ?? `session-${++this.sessions}` };
  };

  readonly socket = (ticket: string): WebSocket => {
    const socket = new FakeSocket(ticket);
    this.sockets.push(socket);
    return socket as unknown as WebSocket;
  };

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("No socket was opened.");
    return socket;
  }
}
