// Generated from docs/asyncapi.json by `npm run protocol --workspace web`; do not edit.

/** Begin, or go on after a new connection. The session is the ticket's; naming another is an error.
 *
 * A voice session is ready when `session.ready` comes: within 5 seconds, or `error` says `session_unavailable`. What
 * is fixed while the session lasts (engine, language, voice, conversation) need not be said again. */
export interface SessionStart {
  "action": "session.start";
  "session_id"?: string | null;
  "medium"?: "text" | "voice";
  "conversation_id"?: string | null;
  "last_seq"?: number | null;
  "engine"?: string | null;
  "language"?: string | null;
  "voice"?: string | null;
}

/** A piece of what the user says: 10 to 200 ms, best 90, of PCM, 16-bit little-endian mono at 16 kHz, in base64.
 *
 * It is never answered itself: `ack` says what is kept, `resend` what is missing. A frame is written once, and one
 * that is no number and base64 is not written at all. Frames sent before `session.start` belong to the session. */
export interface Audio {
  "action": "audio";
  "seq": number;
  "data": string;
}

/** How much of a turn's voice the user has heard: every half second, at an interruption, and at the end. */
export interface Played {
  "action": "played";
  "turn_id": string;
  "ms": number;
}

/** A message of text. Without a `conversation_id` it begins a conversation.
 *
 * In a voice session it is answered there, by voice, and is at most 4,000 characters long; with another conversation's
 * id it is answered by text as ever. */
export interface Text {
  "action": "text";
  /** The user's message, 1 to 32000 characters. */
  "message": string;
  "conversation_id"?: string | null;
  "request_id"?: string | null;
  "model_role"?: "quick" | "reasoning";
}

/** Asks for a pong, and keeps the connection open.
 *
 * In a voice session, every 5 seconds: a ping that finds the session's worker dead starts another. */
export interface Ping {
  "action": "ping";
}

/** Ends the session. */
export interface SessionEnd {
  "action": "session.end";
}

/** The session can be used. */
export interface SessionReady {
  "type": "session.ready";
  "session_id": string;
  "conversation_id"?: string | null;
  "engine"?: string | null;
  "language"?: string | null;
  "next_seq"?: number | null;
}

/** The next piece of an answer. */
export interface MessageDelta {
  "type": "message.delta";
  "turn_id": string;
  "text": string;
  "request_id"?: string | null;
}

/** An answer, whole and stored. It replaces the pieces. */
export interface MessageDone {
  "type": "message.done";
  "turn_id": string;
  "conversation_id": string;
  "message": string;
  "citations": Array<LinkedCitation>;
  "model": string;
  "knowledge": "none" | "off" | "unavailable" | "used";
  "request_id"?: string | null;
  "medium"?: "text" | "voice";
}

/** A passage that an answer refers to. Only a fresh answer has `source_url`, which opens the document for 15 minutes
 * (a PDF at the passage's page): later, `GET /knowledge/documents/{document_id}` gives another. */
export interface LinkedCitation {
  "id": number;
  "document_id": string;
  "document": string;
  "score": number;
  "text": string;
  "heading"?: string;
  "page"?: number | null;
  "source_url"?: string | null;
}

/** What a turn consumed; `cost_usd` is null for a model without a known price. */
export interface UsageReport {
  "type": "usage";
  "turn_id": string;
  "input_tokens": number;
  "output_tokens": number;
  "cost_usd": number | null;
}

/** What was said in a voice turn. A text that is not final is replaced by the turn's next of the same role. */
export interface Transcript {
  "type": "transcript";
  "turn_id": string;
  "role": "assistant" | "user";
  "text": string;
  "final": boolean;
}

/** The next piece of a turn's voice: base64 of PCM, 16-bit little-endian mono at 24 kHz. */
export interface AudioMessage {
  "type": "audio";
  "turn_id": string;
  "data": string;
}

/** Every audio frame up to `seq` is kept: the client may forget them. */
export interface Ack {
  "type": "ack";
  "seq": number;
}

/** Audio frames that have not arrived, first and last included: send them again. */
export interface Resend {
  "type": "resend";
  "from": number;
  "to": number;
}

/** The user spoke into the answer: stop its playback at once, and drop what is queued of it.
 *
 * `heard_ms` is how much of its voice counts as heard. */
export interface InterruptedMessage {
  "type": "interrupted";
  "turn_id": string;
  "heard_ms"?: number | null;
}

/** The model uses a tool. */
export interface ToolNotice {
  "type": "tool";
  "turn_id": string;
  "name": string;
  "status": "done" | "failed" | "started";
}

/** The answer to a ping. */
export interface Pong {
  "type": "pong";
}

/** The session is over, for this connection.
 *
 * `ended`: somebody ended it; `idle`: nobody spoke for ten minutes; `replaced`: another connection took it over;
 * `flood`: more audio came than time passed; `limit`: the day's voice minutes are used up; `failed`: it cannot go on. */
export interface SessionEnded {
  "type": "session.ended";
  "reason"?: "ended" | "failed" | "flood" | "idle" | "limit" | "replaced" | "taken_over";
}

/** A message was refused, or its turn failed; nothing of it is stored. `retryable`: send it again, by itself if it
 * likes. `retry_after`: in how many seconds that may help. */
export interface ErrorMessage {
  "type": "error";
  "code": string;
  "message": string;
  "retryable": boolean;
  "request_id"?: string | null;
  "retry_after"?: number | null;
}

/** What a client may send. */
export type FromClient =
  | SessionStart
  | Audio
  | Played
  | Text
  | Ping
  | SessionEnd;

/** What the server sends. */
export type FromServer =
  | SessionReady
  | MessageDelta
  | MessageDone
  | UsageReport
  | Transcript
  | AudioMessage
  | Ack
  | Resend
  | InterruptedMessage
  | ToolNotice
  | Pong
  | SessionEnded
  | ErrorMessage;
