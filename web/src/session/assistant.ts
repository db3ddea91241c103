import type { Api, Conversation, ConversationSummary } from "../api/api.js";
import { ParleyError } from "../errors.js";
import { type AudioDevices, type AudioListener, Call } from "./call.js";
import { Chat } from "./chat.js";
import { Connection, type ConnectionState } from "./connection.js";
import { Store } from "./store.js";
import { Transcript } from "./transcript.js";

export interface AssistantState {
  connection: ConnectionState;
  /** A question of text is being answered. */
  busy: boolean;
  conversationId: string | undefined;
  /** Null until they have been read once. */
  conversations: ConversationSummary[] | null;
  /** What went wrong outside of any message. */
  notice: unknown;
}

export interface AssistantParts {
  api: Api;
  socket(ticket: string): WebSocket;
  audio(listener: AudioListener): Promise<AudioDevices>;
  /** Nobody is signed in any more. */
  left(error: ParleyError): void;
}

/** Characters of a message that a call answers aloud; longer ones are answered in writing. */
const SPOKEN_LENGTH = 4_000;
const PING_EVERY_MS = 60_000;
const ANSWER_WITHIN_MS = 10_000;
/** Pages of a hundred; enough for a search over years. */
const LARGEST_PAGES = 20;
/** A search inside conversations reads each of them: the texts are encrypted where they are stored. */
const SEARCHED_CONVERSATIONS = 100;
const SEARCH_READERS = 4;

/** Everything behind the page of one person who is signed in: the conversation, in writing and aloud, and the past ones. */
export class Assistant {
  readonly store = new Store<AssistantState>({
    connection: "closed",
    busy: false,
    conversationId: undefined,
    conversations: null,
    notice: null,
  });
  readonly transcript = new Transcript();
  readonly call: Call;
  private readonly chat: Chat;
  private readonly connection: Connection;
  private readonly searched = new Map<string, string>();

  constructor(private readonly parts: AssistantParts) {
    const ticket = (session?: string) => parts.api.ticket(session);
    this.connection = new Connection(
      {
        ticket,
        open: parts.socket,
        start: (sessionId) => ({ action: "session.start", session_id: sessionId }),
        pingEveryMs: PING_EVERY_MS,
        answerWithinMs: ANSWER_WITHIN_MS,
      },
      {
        state: (connection) => this.store.set({ connection }),
        ready: () => {
          const { notice } = this.store.get();
          if (notice instanceof ParleyError && notice.code === "throttled") this.dismiss();
        },
        delayed: (error) => this.store.set({ notice: error }),
        message: (message) => this.chat.receive(message),
        refused: (error) => this.leave(error),
      },
    );
    this.chat = new Chat(parts.api, () => this.connection, this.transcript, () => this.chatChanged());
    this.call = new Call(
      {
        audio: parts.audio,
        ticket,
        socket: parts.socket,
        refused: (error) => this.leave(error),
        ended: (error) => {
          if (error) this.store.set({ notice: error });
          void this.refresh();
        },
        stored: (conversationId) => this.stored(conversationId),
      },
      this.transcript,
    );
  }

  open(): void {
    this.connection.open();
    void this.refresh();
  }

  close(): void {
    this.call.leave();
    this.connection.close();
    this.chat.switchTo(undefined);
    this.transcript.clear();
    this.searched.clear();
    this.store.set({ conversations: null, notice: null });
  }

  /** The network is back. */
  readonly retryNow = (): void => {
    this.connection.retryNow();
    this.call.retryNow();
  };

  /** Ask in writing; during a call it is answered aloud. False while another question is being answered. */
  send(message: string): boolean {
    if (this.chat.busy) return false;
    if (this.call.active && message.length <= SPOKEN_LENGTH) this.call.say(message);
    else this.chat.ask(message);
    return true;
  }

  talk(language?: string): Promise<void> {
    this.dismiss();
    return this.call.start(this.store.get().conversationId, language);
  }

  /** Begin another conversation. A call belongs to its conversation and ends with it. */
  startConversation(): void {
    this.switchTo(undefined);
  }

  async openConversation(conversationId: string): Promise<void> {
    this.switchTo(conversationId);
    try {
      const conversation = await this.parts.api.conversation(conversationId);
      const isOpen = this.store.get().conversationId === conversationId && !this.chat.busy && !this.call.active;
      if (isOpen) this.transcript.show(conversation);
    } catch (error) {
      this.report(error);
    }
  }

  /** Whether it is gone. */
  async removeConversation(conversationId: string): Promise<boolean> {
    try {
      await this.parts.api.remove(conversationId);
    } catch (error) {
      // Somebody, perhaps this person elsewhere, was faster.
      if (!(error instanceof ParleyError && error.code === "not_found")) {
        this.report(error);
        return false;
      }
    }
    if (this.store.get().conversationId === conversationId) this.startConversation();
    const conversations = this.store.get().conversations ?? [];
    this.store.set({ conversations: conversations.filter((one) => one.conversation_id !== conversationId) });
    return true;
  }

  /** The ids of the conversations in which somebody wrote or said `words`, the newest ones only. */
  async search(words: string, found: (conversationId: string) => void, signal: AbortSignal): Promise<void> {
    const waiting = (this.store.get().conversations ?? []).slice(0, SEARCHED_CONVERSATIONS);
    const wanted = words.toLocaleLowerCase();
    const reader = async (): Promise<void> => {
      for (let one = waiting.shift(); one && !signal.aborted; one = waiting.shift()) {
        // Kept until it changes: people search again with another word.
        const name = `${one.conversation_id} ${one.updated_at}`;
        let texts = this.searched.get(name);
        if (!texts) {
          const { turns } = await this.parts.api.conversation(one.conversation_id);
          texts = turns.map((turn) => turn.message).join("\n").toLocaleLowerCase();
          this.searched.set(name, texts);
        }
        if (!signal.aborted && texts.includes(wanted)) found(one.conversation_id);
      }
    };
    try {
      await Promise.all(Array.from({ length: SEARCH_READERS }, reader));
    } catch (error) {
      if (!signal.aborted) this.report(error);
    }
  }

  async exported(conversationId: string): Promise<Conversation | null> {
    try {
      return await this.parts.api.exported(conversationId);
    } catch (error) {
      this.report(error);
      return null;
    }
  }

  report(error: unknown): void {
    if (error instanceof ParleyError && error.code === "unauthorized") this.leave(error);
    else this.store.set({ notice: error });
  }

  dismiss(): void {
    this.store.set({ notice: null });
  }

  private leave(error: ParleyError): void {
    this.close();
    this.parts.left(error);
  }

  private switchTo(conversationId: string | undefined): void {
    this.call.leave();
    this.chat.switchTo(conversationId);
    this.transcript.clear();
    this.store.set({ conversationId, notice: null });
  }

  private chatChanged(): void {
    const { busy, conversationId } = this.chat;
    this.store.set({ busy, conversationId });
    if (!busy && this.connection.wantsConnection) void this.refresh();
  }

  private stored(conversationId: string): void {
    const isNew = this.store.get().conversationId !== conversationId;
    this.chat.conversationId = conversationId;
    this.store.set({ conversationId });
    if (isNew) void this.refresh();
  }

  private async refresh(): Promise<void> {
    const conversations: ConversationSummary[] = [];
    try {
      let cursor: string | null | undefined;
      for (let page = 0; page < LARGEST_PAGES && cursor !== null; page++) {
        const answer = await this.parts.api.conversations(cursor);
        conversations.push(...answer.conversations);
        cursor = answer.cursor;
      }
    } catch {
      // The list is a convenience: when it cannot be read, talking still works.
      return;
    }
    if (this.connection.wantsConnection) this.store.set({ conversations });
  }
}
