import type { Api, Deletion, Export } from "../api/api.js";
import { LINK_MS } from "../api/sources.js";
import { ParleyError } from "../errors.js";
import { Store } from "./store.js";

/** What is known of something that the service does by itself once it is asked for. */
export interface JobState<T> {
  /** The latest one; null while none is known. */
  record: T | null;
  /** It is being asked for. */
  asking: boolean;
  /** Why it could not be asked for, or its state not be read. A running one is read again by itself. */
  error: unknown;
}

interface JobParts<T> {
  ask(): Promise<T>;
  read(): Promise<T>;
  runs(record: T): boolean;
  /** Hears every record that comes. */
  changed(record: T): void;
  /** The credentials are no good any more; `record` is what was known of the job. */
  refused(error: ParleyError, record: T | null): void;
}

/** Most take seconds; the pauses between reading their states grow for those that take minutes. */
const PAUSE_MS = { first: 1_500, growth: 1.5, longest: 15_000 };

/** Asks for one thing that takes its time, and follows it to its end. */
export class Job<T extends object> {
  readonly store = new Store<JobState<T>>({ record: null, asking: false, error: null });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private pauseMs = PAUSE_MS.first;
  /** Grows with every request: an answer that a later one has overtaken is dropped. */
  private number = 0;

  constructor(private readonly parts: JobParts<T>) {}

  /** Asks for it; when it is under way already, follows that. */
  async ask(): Promise<void> {
    if (this.store.get().asking) return;
    this.pauseMs = PAUSE_MS.first;
    this.store.set({ asking: true, error: null });
    await this.update(() => this.parts.ask());
  }

  /** Reads what there is already, and follows it when it runs. */
  async look(): Promise<void> {
    if (this.store.get().asking) return;
    this.pauseMs = PAUSE_MS.first;
    await this.update(() => this.parts.read());
  }

  /** Follows it no more. It goes on. */
  leave(): void {
    this.number += 1;
    clearTimeout(this.timer);
    this.store.set({ asking: false, error: null });
  }

  /** Leaves it, and knows of none. */
  forget(): void {
    this.leave();
    this.store.set({ record: null });
  }

  private async update(request: () => Promise<T>): Promise<void> {
    clearTimeout(this.timer);
    const number = ++this.number;
    try {
      const record = await request();
      if (number !== this.number) return;
      this.store.set({ record, asking: false, error: null });
      if (this.parts.runs(record)) this.readLater();
      this.parts.changed(record);
    } catch (error) {
      if (number === this.number) this.failed(error);
    }
  }

  private failed(error: unknown): void {
    const { record } = this.store.get();
    const code = error instanceof ParleyError ? error.code : "";
    if (code === "unauthorized" || code === "forbidden") {
      this.leave();
      this.parts.refused(error as ParleyError, record);
      return;
    }
    if (code === "not_found") {
      this.store.set({ record: null, asking: false, error: null });
      return;
    }
    this.store.set({ asking: false, error });
    if (record && this.parts.runs(record)) this.readLater(error);
  }

  private readLater(error?: unknown): void {
    const seconds = (error instanceof ParleyError && error.retryAfter) || 0;
    this.timer = setTimeout(() => void this.update(() => this.parts.read()), Math.max(this.pauseMs, 1_000 * seconds));
    this.pauseMs = Math.min(PAUSE_MS.longest, this.pauseMs * PAUSE_MS.growth);
  }
}

export interface PersonalDataParts {
  api: Pick<Api, "requestExport" | "readExport" | "requestDeletion" | "readDeletion">;
  /** Nobody is signed in any more. */
  left(error: ParleyError): void;
  /** Everything is deleted, and there is nobody to be signed in. */
  deleted(): void;
}

/** All that is the user's: to have, and to be rid of. */
export class PersonalData {
  readonly exporting: Job<Export>;
  readonly deletion: Job<Deletion>;
  private linksEndAt = 0;

  constructor({ api, left, deleted }: PersonalDataParts) {
    this.exporting = new Job<Export>({
      ask: () => api.requestExport(),
      read: () => api.readExport(),
      runs: ({ state }) => state === "running",
      changed: () => (this.linksEndAt = performance.now() + LINK_MS),
      refused: left,
    });
    this.deletion = new Job<Deletion>({
      ask: () => api.requestDeletion(),
      read: () => api.readDeletion(),
      runs: ({ state }) => state === "deleting",
      changed: ({ state }) => {
        // Settling, too: all is gone then. To ask on would be to be counted, which is new data of this user.
        if (state === "settling" || state === "done") deleted();
      },
      // The keys and the account go last: who is refused in the middle of it has seen the end.
      refused: (error, record) => (record?.state === "deleting" ? deleted() : left(error)),
    });
  }

  /** Whether the links that came with an export still work. */
  get linksWork(): boolean {
    return performance.now() < this.linksEndAt;
  }

  /** A new link to an archive of the export; null, with the reason in the job's state, when there is none. */
  async freshLink(name: string): Promise<string | null> {
    await this.exporting.look();
    const { record, error } = this.exporting.store.get();
    return error ? null : (record?.archives.find((archive) => archive.name === name)?.url ?? null);
  }

  /** Follows nothing any more. */
  leave(): void {
    this.exporting.leave();
    this.deletion.leave();
  }

  /** Somebody else may sign in. */
  forget(): void {
    this.exporting.forget();
    this.deletion.forget();
  }
}
