import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Api } from "../src/api/api.js";
import { ParleyError, sentence } from "../src/errors.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(new Date(2026, 10, 21, 15, 0));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** What the page makes of this answer of the API. */
async function failure(status: number, body: unknown, retryAfter?: string): Promise<ParleyError> {
  const headers = retryAfter === undefined ? {} : { "Retry-After": retryAfter };
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(body), { status, headers }));
  return new Api(async () => "Bearer t").readExport().then(
    () => Promise.reject(new Error("It succeeded.")),
    (error: unknown) => error as ParleyError,
  );
}

const coded = (code: string, message = "No.") => ({ error: { code, message, request_id: "r" } });

describe("too much", () => {
  it("in a minute says in how many seconds to come back", async () => {
    const error = await failure(429, coded("throttled"), "40");
    expect(error).toMatchObject({ code: "throttled", retryable: true, retryAfter: 40 });
    expect(sentence(error)).toBe("That was too much in a short time. Try again in 40 seconds.");
  });

  it("in a day says at what time to come back, and is not tried again", async () => {
    const words = "Your 1,000 tokens of today are used up; the next day begins at midnight UTC.";
    const tomorrow = await failure(429, coded("quota_exceeded", words), String(10 * 3600));
    expect(tomorrow.retryable).toBe(false);
    expect(sentence(tomorrow)).toMatch(new RegExp(`^${words} Come back tomorrow at 0?1:00( AM)?\\.$`));
    const today = await failure(429, coded("quota_exceeded", words), String(3 * 3600));
    expect(sentence(today)).toMatch(/ Come back today at 0?6:00( PM)?\.$|today at 18:00\.$/);
  });

  it("keeps its time when the sentence is read again later", async () => {
    const error = await failure(429, coded("quota_exceeded"), String(3 * 3600));
    const said = sentence(error);
    vi.setSystemTime(new Date(2026, 10, 21, 16, 30));
    expect(sentence(error)).toBe(said);
  });

  it.each([undefined, "1", "Sat, 21 Nov 2026 15:00:40 GMT"])("without a wait worth telling (%s) is a moment", async (retryAfter) => {
    // API Gateway's own throttle has no code.
    const error = await failure(429, { message: "Too Many Requests" }, retryAfter);
    expect(error).toMatchObject({ code: "throttled", retryable: true });
    expect(sentence(error)).toBe("The assistant is busy just now. Try again in a moment.");
  });
});

it("is said in the words of what was tried, then the page's, then the service's", () => {
  const own = { store_unavailable: "Your data cannot be reached." };
  expect(sentence(new ParleyError("store_unavailable", "No.", true), own)).toBe("Your data cannot be reached.");
  expect(sentence(new ParleyError("store_unavailable", "No.", true))).toContain("could not be saved");
  expect(sentence(new ParleyError("conflict", "Your data is being deleted.", true), own)).toBe("Your data is being deleted.");
  expect(sentence(new TypeError("x is undefined"))).toContain("went wrong on our side");
});
