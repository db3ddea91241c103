/** A failure as the HTTP API or the WebSocket API reports it; `code` is one of the codes in docs/errors.md. */
export class ParleyError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryable: boolean,
  ) {
    super(message);
    this.name = "ParleyError";
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
};

/** One sentence for people. Codes without a sentence of their own speak with the server's words. */
export function sentence(error: unknown): string {
  if (error instanceof ParleyError) return SENTENCES[error.code] ?? error.message;
  return SENTENCES.internal ?? "";
}
