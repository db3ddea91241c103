import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Deletion, Export } from "../src/api/api.js";
import { LINK_MS } from "../src/api/sources.js";
import { ParleyError } from "../src/errors.js";
import { PersonalData, type PersonalDataParts } from "../src/session/personal.js";

const MINUTE_MS = 60_000;

const exported = (state: Export["state"], url = "https://files/1"): Export => ({
  export_id: "e1",
  state,
  kept_until: "2026-11-28T10:00:00Z",
  archives: state === "ready" ? [{ name: "parley-1.zip", size: 12_000, url }] : [],
});
const deletion = (state: Deletion["state"]): Deletion => ({ state, deleted: { conversations: 3 } });
const refusal = (code: string, retryAfter: number | null = null) => new ParleyError(code, "No.", retryAfter !== null, retryAfter);

let api: { [K in keyof PersonalDataParts["api"]]: ReturnType<typeof vi.fn<PersonalDataParts["api"][K]>> };
let left: ParleyError[];
let farewells: number;
let personal: PersonalData;

beforeEach(() => {
  vi.useFakeTimers();
  [left, farewells] = [[], 0];
  api = {
    requestExport: vi.fn(async () => exported("running")),
    readExport: vi.fn(async () => exported("running")),
    requestDeletion: vi.fn(async () => deletion("deleting")),
    readDeletion: vi.fn(async () => deletion("deleting")),
  };
  personal = new PersonalData({ api, left: (error) => left.push(error), deleted: () => (farewells += 1) });
});
afterEach(() => {
  personal.forget();
  vi.useRealTimers();
});

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const exporting = () => personal.exporting.store.get();
const deleting = () => personal.deletion.store.get();

describe("an export", () => {
  it("is followed until its archives are there, and then no more", async () => {
    const asked = personal.exporting.ask();
    expect(exporting().asking).toBe(true);
    await asked;
    expect(exporting()).toMatchObject({ asking: false, record: { state: "running" } });
    await settle(10_000);
    expect(exporting().record?.state).toBe("running");
    api.readExport.mockResolvedValue(exported("ready"));
    await settle(MINUTE_MS);
    expect(exporting().record).toEqual(exported("ready"));
    const reads = api.readExport.mock.calls.length;
    await settle(10 * MINUTE_MS);
    expect(api.readExport).toHaveBeenCalledTimes(reads);
  });

  it("is read less often the longer it takes, and never less than every 15 seconds", async () => {
    await personal.exporting.ask();
    await settle(10_000);
    const first = api.readExport.mock.calls.length;
    expect(first).toBeGreaterThan(2);
    await settle(MINUTE_MS);
    const before = api.readExport.mock.calls.length;
    await settle(MINUTE_MS);
    expect(api.readExport.mock.calls.length - before).toBe(4);
  });

  it("that was made before is found, and none is no error", async () => {
    api.readExport.mockResolvedValueOnce(exported("ready"));
    await personal.exporting.look();
    expect(exporting().record?.state).toBe("ready");
    api.readExport.mockRejectedValueOnce(refusal("not_found"));
    await personal.exporting.look();
    expect(exporting()).toEqual({ record: null, asking: false, error: null });
  });

  it("that failed says so and is not asked for again by itself", async () => {
    await personal.exporting.ask();
    api.readExport.mockResolvedValue(exported("failed"));
    await settle(MINUTE_MS);
    expect(exporting().record?.state).toBe("failed");
    expect(api.requestExport).toHaveBeenCalledTimes(1);
    await personal.exporting.ask();
    expect(exporting().record?.state).toBe("running");
  });

  it("goes on being followed when its state cannot be read, and waits for as long as it is told to", async () => {
    await personal.exporting.ask();
    api.readExport.mockRejectedValueOnce(refusal("throttled", 40));
    await settle(1_500);
    expect(exporting()).toMatchObject({ record: { state: "running" }, error: { code: "throttled" } });
    await settle(39_000);
    expect(api.readExport).toHaveBeenCalledTimes(1);
    api.readExport.mockResolvedValue(exported("ready"));
    await settle(1_000);
    expect(exporting()).toMatchObject({ record: { state: "ready" }, error: null });
  });

  it("that cannot be begun says why, and nothing is followed", async () => {
    api.requestExport.mockRejectedValue(refusal("conflict", 1));
    await personal.exporting.ask();
    expect(exporting()).toMatchObject({ record: null, asking: false, error: { code: "conflict" } });
    await settle(MINUTE_MS);
    expect(api.readExport).not.toHaveBeenCalled();
  });

  it("is left when nobody looks, also with an answer under way", async () => {
    await personal.exporting.ask();
    let answer: (record: Export) => void = () => undefined;
    api.readExport.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
    await settle(1_500);
    personal.exporting.leave();
    answer(exported("ready"));
    await settle(MINUTE_MS);
    expect(exporting().record?.state).toBe("running");
    expect(api.readExport).toHaveBeenCalledTimes(1);
  });

  it("has links that end, and fresh ones after that", async () => {
    api.readExport.mockResolvedValue(exported("ready"));
    await personal.exporting.look();
    expect(personal.linksWork).toBe(true);
    await settle(LINK_MS);
    expect(personal.linksWork).toBe(false);
    api.readExport.mockResolvedValue(exported("ready", "https://files/2"));
    expect(await personal.freshLink("parley-1.zip")).toBe("https://files/2");
    expect(personal.linksWork).toBe(true);
    expect(await personal.freshLink("another.zip")).toBeNull();
    api.readExport.mockRejectedValue(refusal("store_unavailable", 5));
    expect(await personal.freshLink("parley-1.zip")).toBeNull();
    expect(exporting().error).toMatchObject({ code: "store_unavailable" });
  });

  it("ends with the sign-in", async () => {
    await personal.exporting.ask();
    api.readExport.mockRejectedValue(refusal("unauthorized"));
    await settle(MINUTE_MS);
    expect(left).toHaveLength(1);
    expect(farewells).toBe(0);
  });
});

describe("a deletion", () => {
  it.each(["settling", "done"] as const)("is followed until all is gone (%s), and nothing is asked after that", async (end) => {
    await personal.deletion.ask();
    await settle(5_000);
    expect(deleting().record?.state).toBe("deleting");
    expect(farewells).toBe(0);
    api.readDeletion.mockResolvedValue(deletion(end));
    await settle(MINUTE_MS);
    expect(farewells).toBe(1);
    const reads = api.readDeletion.mock.calls.length;
    await settle(10 * MINUTE_MS);
    expect(api.readDeletion).toHaveBeenCalledTimes(reads);
  });

  it.each(["unauthorized", "forbidden"])("is over when the account is gone (%s)", async (code) => {
    await personal.deletion.ask();
    api.readDeletion.mockRejectedValue(refusal(code));
    await settle(5_000);
    expect(farewells).toBe(1);
    expect(left).toHaveLength(0);
  });

  it("that nobody may ask for is no deletion", async () => {
    api.requestDeletion.mockRejectedValue(refusal("unauthorized"));
    await personal.deletion.ask();
    expect(left).toHaveLength(1);
    expect(farewells).toBe(0);
    expect(deleting().record).toBeNull();
  });

  it("that cannot be begun leaves everything as it was, with the reason", async () => {
    api.requestDeletion.mockRejectedValue(refusal("store_unavailable", 5));
    await personal.deletion.ask();
    expect(deleting()).toMatchObject({ record: null, asking: false, error: { code: "store_unavailable" } });
  });

  it("that failed is asked for again on request only", async () => {
    await personal.deletion.ask();
    api.readDeletion.mockResolvedValue(deletion("failed"));
    await settle(5 * MINUTE_MS);
    expect(deleting().record?.state).toBe("failed");
    expect(api.requestDeletion).toHaveBeenCalledTimes(1);
    await personal.deletion.ask();
    expect(deleting().record?.state).toBe("deleting");
    expect(farewells).toBe(0);
  });

  it("is asked for once, however often somebody clicks", async () => {
    void personal.deletion.ask();
    await personal.deletion.ask();
    await settle();
    expect(api.requestDeletion).toHaveBeenCalledTimes(1);
  });

  it("is forgotten for whoever signs in next", async () => {
    await personal.deletion.ask();
    personal.forget();
    expect(deleting().record).toBeNull();
    await settle(MINUTE_MS);
    expect(api.readDeletion).not.toHaveBeenCalled();
  });
});
