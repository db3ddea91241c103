import { ParleyError } from "../errors.js";
import type { LinkedCitation } from "../protocol/messages.js";

/** A passage that an answer rests on. Only a fresh answer has `source_url`, and only for 15 minutes. */
export type Citation = LinkedCitation;

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cost_usd: number | null;
}

/** What the documents gave to an answer. */
export type Knowledge = "used" | "none" | "unavailable" | "off";

export type Medium = "text" | "voice";

export interface Answer {
  conversation_id: string;
  turn_id: string;
  message: string;
  citations: Citation[];
  model: string;
  knowledge: Knowledge;
  usage: Usage;
}

export interface Ticket {
  ticket: string;
  session_id: string;
}

export interface ConversationSummary {
  conversation_id: string;
  title: string;
  updated_at: string;
}

export interface Conversation extends ConversationSummary {
  created_at: string;
  turns: Turn[];
}

export interface Turn {
  turn_id: string;
  role: "user" | "assistant";
  medium: Medium;
  message: string;
  created_at: string;
  citations?: Citation[];
  knowledge?: Knowledge;
  model?: string;
  usage?: Usage;
}

/** A copy of all that is the user's. Times are ISO 8601 in UTC. */
export interface Export {
  export_id: string;
  state: "running" | "ready" | "failed";
  kept_until: string;
  /** `size` in bytes; `url` downloads it for 15 minutes. */
  archives: { name: string; size: number; url: string }[];
}

/** `settling`: everything is deleted, and it is looked once more for what was written meanwhile. */
export interface Deletion {
  state: "deleting" | "settling" | "done" | "failed";
  /** How many things of each kind. */
  deleted: Record<string, number>;
}

/** The HTTP API. Every method throws `ParleyError`; `authorization` gives the header's value for each request. */
export class Api {
  constructor(private readonly authorization: () => Promise<string>) {}

  /** A ticket opens one WebSocket; naming a session continues it. */
  ticket(sessionId?: string): Promise<Ticket> {
    return this.request("POST", "/tickets", sessionId ? { session_id: sessionId } : {});
  }

  /** One turn over HTTP. `requestId` makes a repetition harmless: the turn is stored once. */
  chat(message: string, requestId: string, conversationId?: string): Promise<Answer> {
    const body = { message, ...(conversationId && { conversation_id: conversationId }) };
    return this.request("POST", "/chat", body, { "Idempotency-Key": requestId, "X-Request-Id": requestId });
  }

  /** The newest first. `cursor` goes on where a page ended; a null one says that it was the last. */
  conversations(cursor?: string): Promise<{ conversations: ConversationSummary[]; cursor: string | null }> {
    const query = new URLSearchParams({ limit: "100", ...(cursor && { cursor }) });
    return this.request("GET", `/conversations?${query}`);
  }

  conversation(conversationId: string): Promise<Conversation> {
    return this.request("GET", `/conversations/${encodeURIComponent(conversationId)}`);
  }

  /** The same as a conversation, with all that is stored of it. */
  exported(conversationId: string): Promise<Conversation> {
    return this.request("GET", `/conversations/${encodeURIComponent(conversationId)}/export`);
  }

  async remove(conversationId: string): Promise<void> {
    await this.request("DELETE", `/conversations/${encodeURIComponent(conversationId)}`);
  }

  /** A link to a document's file, valid for 15 minutes; null while there is no file. */
  async sourceUrl(documentId: string): Promise<string | null> {
    const path = `/knowledge/documents/${encodeURIComponent(documentId)}`;
    return (await this.request<{ source_url: string | null }>("GET", path)).source_url;
  }

  /** Begins an export of all that is the user's, or finds the one that runs. */
  requestExport(): Promise<Export> {
    return this.request("POST", "/me/export");
  }

  readExport(): Promise<Export> {
    return this.request("GET", "/me/export");
  }

  /** Begins to delete all that is the user's, or finds that it is being done. */
  requestDeletion(): Promise<Deletion> {
    return this.request("DELETE", "/me");
  }

  readDeletion(): Promise<Deletion> {
    return this.request("GET", "/me/deletion");
  }

  private async request<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    // Under this id the service's logs say what became of the request.
    const own = { "X-Request-Id": crypto.randomUUID(), Authorization: await this.authorization() };
    const init: RequestInit = { method, headers: { ...own, ...headers } };
    if (body !== undefined) {
      init.headers = { ...init.headers, "Content-Type": "application/json" };
      init.body = JSON.stringify(body);
    }
    let response: Response;
    try {
      response = await fetch(`/api${path}`, init);
    } catch {
      throw new ParleyError("unreachable", "The network failed.", true);
    }
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) throw errorFrom(response, answer);
    return answer as T;
  }
}

/** Parley's errors have a code; API Gateway's own (`{"message"}`, before our code runs) have the status only. */
function errorFrom({ status, headers }: Response, body: unknown): ParleyError {
  const error = (body as { error?: { code?: string; message?: string } } | null)?.error;
  // A quota of the day is a 429 too, and hours away.
  const retryable = (status === 429 && error?.code !== "quota_exceeded") || status >= 500;
  const retryAfter = Number(headers.get("Retry-After")) || null;
  if (error?.code) return new ParleyError(error.code, error.message ?? error.code, retryable, retryAfter);
  const codes: Record<number, string> = { 401: "unauthorized", 403: "forbidden", 413: "payload_too_large", 429: "throttled" };
  return new ParleyError(codes[status] ?? "internal", `The API answered ${status}.`, retryable, retryAfter);
}
