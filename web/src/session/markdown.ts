import type { Conversation } from "../api/api.js";

/** A conversation as a text for people: who said what, with the documents that each answer rests on. */
export function markdown({ title, created_at, turns }: Conversation): string {
  const parts = turns.map(({ role, message, medium, citations = [] }) => {
    const speaker = `**${role === "user" ? "You" : "Parley"}**${medium === "voice" ? " (spoken)" : ""}`;
    const sources = citations.map(({ id, document, heading, page }) => {
      const place = [heading, page && `page ${page}`].filter(Boolean).join(", ");
      return `- [${id}] ${document}${place ? `, ${place}` : ""}`;
    });
    return [speaker, message, sources.join("\n")].filter(Boolean).join("\n\n");
  });
  return `${[`# ${title || "Untitled"}`, created_at, ...parts].join("\n\n")}\n`;
}
