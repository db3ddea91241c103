import type { Api, Citation, Knowledge, Usage } from "./api.js";
import { ParleyError } from "./errors.js";
import type { Frame, ParleySocket } from "./socket.js";

/** Where one answer appears. */
export interface AnswerView {
  /** Replaces what is shown of the answer so far. */
  text(text: string): void;
  done(answer: { message: string; citations: Citation[]; model: string; knowledge?: Knowledge }): void;
  usage(usage: Usage): void;
  /**
   * `retry` asks the same question again, and is false while another is being answered. A turn that was stored already
   * is not stored twice.
   */
  failed(error: unknown, retry: () => boolean): void;
}

interface PendingTurn {
  requestId: string;
  message: string;
  view: AnswerView;
  text: string;
  /** The connection (by count) that carried the question; another one means that it has to be asked again. */
  sentOn: number | null;
  watchdog: number;
  /** Whether the first attempt may still be running somewhere. */
  repeated: boolean;
}

/** A WebSocket frame carries 32 KB at most and a browser cannot split one; the rest is room for the frame's other fields. */
const LARGEST_FRAME_BYTES = 30_000;
/** Longer than a turn may take, so it fires only when a turn died without a word. */
const ANSWER_WITHIN_MS = 90_000;
const ASK_AGAIN_MS = 2_000;

/** One conversation at a time and one question at a time, over the WebSocket or, for long messages, over HTTP. */
export class Chat {
  conversationId: string | undefined;
  private pending: PendingTurn | null = null;
  /** Kept by turn because the cost of a turn may be told after its last word. */
  private readonly views = new Map<string, AnswerView>();
  private connections = 0;

  constructor(
    private readonly api: Api,
    private readonly socket: () => ParleySocket,
    private readonly changed: () => void,
  ) {}

  get busy(): boolean {
    return this.pending !== null;
  }

  ask(message: string, view: AnswerView, requestId: string = crypto.randomUUID()): void {
    this.pending = { requestId, message, view, text: "", sentOn: null, watchdog: 0, repeated: false };
    this.changed();
    void this.deliver(this.pending);
  }

  /** Leaves the conversation; an answer still under way is stored but not shown here. */
  switchTo(conversationId: string | undefined): void {
    if (this.pending) window.clearTimeout(this.pending.watchdog);
    this.pending = null;
    this.views.clear();
    this.conversationId = conversationId;
    this.changed();
  }

  receive(frame: Frame): void {
    switch (frame.type) {
      case "session.ready":
        this.connections += 1;
        if (this.pending) void this.deliver(this.pending);
        break;
      case "message.delta": {
        const turn = this.turnOf(frame.request_id);
        if (!turn) break;
        this.views.set(frame.turn_id, turn.view);
        turn.text += frame.text;
        turn.view.text(turn.text);
        break;
      }
      case "message.done": {
        const turn = this.turnOf(frame.request_id);
        if (!turn) break;
        this.views.set(frame.turn_id, turn.view);
        this.finish(turn, () => turn.view.done(frame), frame.conversation_id);
        break;
      }
      case "usage":
        this.views.get(frame.turn_id)?.usage(frame);
        break;
      case "error": {
        const turn = this.turnOf(frame.request_id);
        if (!turn) break;
        // Asked again over a new connection while the first attempt still runs: its answer can be fetched soon.
        if (frame.code === "conflict" && turn.repeated) this.askAgainSoon(turn);
        else this.fail(turn, new ParleyError(frame.code, frame.message, frame.retryable));
        break;
      }
      default:
        break;
    }
  }

  private turnOf(requestId: string | undefined): PendingTurn | null {
    return this.pending && (!requestId || this.pending.requestId === requestId) ? this.pending : null;
  }

  private async deliver(turn: PendingTurn): Promise<void> {
    const frame = {
      action: "text",
      message: turn.message,
      request_id: turn.requestId,
      ...(this.conversationId && { conversation_id: this.conversationId }),
    };
    if (new TextEncoder().encode(JSON.stringify(frame)).length > LARGEST_FRAME_BYTES) {
      await this.deliverByHttp(turn);
    } else if (this.connections > 0 && turn.sentOn !== this.connections && this.socket().send(frame)) {
      turn.repeated = turn.sentOn !== null;
      turn.sentOn = this.connections;
      turn.text = "";
      if (!turn.watchdog) this.watch(turn);
    }
    // Not sent: the next `session.ready` delivers it.
  }

  private async deliverByHttp(turn: PendingTurn): Promise<void> {
    if (turn.sentOn !== null) return;
    turn.sentOn = 0;
    try {
      const answer = await this.api.chat(turn.message, turn.requestId, this.conversationId);
      if (this.pending !== turn) return;
      this.finish(turn, () => turn.view.done(answer), answer.conversation_id);
      turn.view.usage(answer.usage);
    } catch (error) {
      if (this.pending === turn) this.fail(turn, error);
    }
  }

  private askAgainSoon(turn: PendingTurn): void {
    window.setTimeout(() => {
      if (this.pending !== turn) return;
      // No connection carries the question any more, so it may go over the same one again.
      turn.sentOn = 0;
      void this.deliver(turn);
    }, ASK_AGAIN_MS);
  }

  private watch(turn: PendingTurn): void {
    turn.watchdog = window.setTimeout(() => {
      if (this.pending === turn) this.fail(turn, new ParleyError("no_answer", "No answer came.", true));
    }, ANSWER_WITHIN_MS);
  }

  private finish(turn: PendingTurn, show: () => void, conversationId?: string): void {
    window.clearTimeout(turn.watchdog);
    this.pending = null;
    if (conversationId) this.conversationId = conversationId;
    show();
    this.changed();
  }

  private fail(turn: PendingTurn, error: unknown): void {
    this.finish(turn, () =>
      turn.view.failed(error, () => {
        if (this.busy) return false;
        this.ask(turn.message, turn.view, turn.requestId);
        return true;
      }),
    );
  }
}
