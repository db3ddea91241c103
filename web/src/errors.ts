/** A failure as the HTTP API or the WebSocket API reports it; `code` is one of the codes in docs/errors.md. */
export class ParleyError extends Error {
  /** When the same may succeed. */
  readonly retryAt: Date | null;

  constructor(
    readonly code: string,
    message: string,
    readonly retryable: boolean,
    /** In how many seconds the same may succeed; null where nobody said. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "ParleyError";
    this.retryAt = retryAfter === null ? null : new Date(Date.now() + 1_000 * retryAfter);
  }
}

const SENTENCES: Record<string, string> = {
  unauthorized: "Your sign-in has ended. Sign in again.",
  forbidden: "You are not allowed to do that.",
  not_found: "That conversation does not exist any more.",
  throttled: "The assistant is busy just now. Try again in a moment.",
  model_unavailable: "No language model answered. Try again in a moment.",
  store_unavailable: "The conversation could not be saved. Try again in a moment.",
  deadline_exceeded: "The answer took too long. Try again, perhaps with a shorter question.",
  internal: "Something went wrong on our side. Try again in a moment.",
  unreachable: "The assistant cannot be reached. Check your connection.",
  no_answer: "No answer came. Try again.",
  microphone_refused: "The microphone is blocked. Allow it for this page in the browser's settings, then talk again.",
  microphone_missing: "No microphone was found. Plug one in, or type instead.",
  microphone_busy: "The microphone cannot be used just now; another program may have it. Close that and talk again.",
  microphone_insecure: "A browser gives the microphone to secure pages only. Open this page by https, or type instead.",
  microphone_failed: "The microphone did not start. Try again, or type instead.",
  microphone_lost: "The microphone went away, so the call has ended.",
  audio_failed: "The browser's audio did not start. Try again.",
  engine_unavailable: "The voice service does not answer just now. Try again in a moment, or type instead.",
  session_unavailable: "The call could not be connected. Try again in a moment, or type instead.",
  language_unsupported: "The assistant does not speak that language.",
  audio_flood: "Too much sound came at once, so the call has ended. Talk again.",
  call_flood: "Too much sound came at once, so the call has ended. Talk again.",
  call_idle: "Nobody spoke for ten minutes, so the call has ended.",
  call_replaced: "The call goes on in another window or on another device.",
  call_limit: "Your minutes of calls of today are used up; the next day begins at midnight UTC. You can still type.",
  call_failed: "The call failed on our side. Talk again to go on with the conversation.",
};

/** Shorter waits are "a moment". */
const MOMENT_SECONDS = 5;
/** Longer ones are told by the clock. */
const COUNTED_SECONDS = 120;

/**
 * What to tell people, in a sentence or two. `own` says it better where the page knows what was tried. Codes without a
 * sentence speak with the server's words.
 */
export function sentence(error: unknown, own: Record<string, string> = {}): string {
  if (!(error instanceof ParleyError)) return SENTENCES.internal ?? "";
  const { code, message, retryAfter, retryAt } = error;
  if (retryAt && retryAfter && retryAfter > MOMENT_SECONDS) {
    if (code === "throttled") return `That was too much in a short time. Try again ${time(retryAfter, retryAt)}.`;
    if (code === "quota_exceeded") return `${message} Come back ${time(retryAfter, retryAt)}.`;
  }
  return own[code] ?? SENTENCES[code] ?? message;
}

function time(seconds: number, at: Date): string {
  if (seconds <= COUNTED_SECONDS) return `in ${Math.ceil(seconds)} seconds`;
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return `${at.toDateString() === new Date().toDateString() ? "today" : "tomorrow"} at ${clock}`;
}
