import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { generate } from "../scripts/protocol.mjs";
import { parse } from "../src/protocol/messages.js";

describe("the protocol's types", () => {
  it("are those of docs/asyncapi.json", async () => {
    const written = readFileSync(new URL("../src/protocol/generated.ts", import.meta.url), "utf8");
    expect(written, "Run `npm run protocol --workspace web`.").toBe(await generate());
  });

  it("leave out what is no message", () => {
    expect(parse("hello")).toBeNull();
    expect(parse("null")).toBeNull();
    expect(parse('{"seq": 1}')).toBeNull();
    expect(parse('{"type": "ack", "seq": 4}')).toEqual({ type: "ack", seq: 4 });
  });

  it("take API Gateway's own errors for errors", () => {
    const failed = parse('{"message": "Internal server error", "connectionId": "a", "requestId": "b"}');
    expect(failed).toMatchObject({ type: "error", code: "internal", retryable: true });
    expect(parse('{"message": "Too Many Requests"}')).toMatchObject({ code: "throttled" });
  });
});
