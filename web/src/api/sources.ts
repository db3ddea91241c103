import { ParleyError } from "../errors.js";
import type { Citation } from "./api.js";

/** A little less than the 15 minutes that a link is valid, so that none ends on its way. */
export const LINK_MS = 14 * 60 * 1000;

/** A link of now to a document's file; null while there is none. Throws `ParleyError`. */
export type FreshLink = (documentId: string) => Promise<string | null>;

/**
 * Opens a citation's document in a new tab, at its page, by a link that is asked for now: the one that came with an
 * answer soon ends, and an answer read again later has none. Call it from a click. Throws `ParleyError`.
 */
export async function openSource({ document_id, page }: Citation, fresh: FreshLink): Promise<void> {
  // Opened at once: a browser refuses a window that comes later than the click.
  const tab = window.open("", "_blank");
  if (!tab) throw new ParleyError("no_window", "The browser did not let the document open in a new tab.", true);
  tab.opener = null;
  try {
    const url = await fresh(document_id).catch((error: unknown) => {
      if (error instanceof ParleyError && error.code === "not_found") return null;
      throw error;
    });
    if (!url) throw new ParleyError("no_source", "That document is not there any more.", false);
    tab.location.replace(page ? `${url}#page=${page}` : url);
  } catch (error) {
    tab.close();
    throw error;
  }
}
