import type { FromServer, SessionEnded } from "./generated.js";

export type * from "./generated.js";

export type EndReason = NonNullable<SessionEnded["reason"]>;

/** Null for what is no message. API Gateway's own errors (`{"message"}`, when a route fails) become errors like ours. */
export function parse(data: string): FromServer | null {
  let message: { type?: unknown; message?: unknown } | null;
  try {
    message = JSON.parse(data) as typeof message;
  } catch {
    return null;
  }
  if (typeof message?.type === "string") return message as FromServer;
  if (typeof message?.message !== "string") return null;
  const code = message.message === "Too Many Requests" ? "throttled" : "internal";
  return { type: "error", code, message: message.message, retryable: true };
}
