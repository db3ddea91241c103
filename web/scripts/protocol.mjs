// Writes the types of the WebSocket messages from docs/asyncapi.json: `npm run protocol --workspace web`.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const SOURCE = new URL("../../docs/asyncapi.json", import.meta.url);
const TARGET = new URL("../src/protocol/generated.ts", import.meta.url);

/** The text of `generated.ts` for the document as it is now. */
export async function generate() {
  const { channels, operations, components } = JSON.parse(await readFile(SOURCE, "utf8"));
  const types = Object.entries(components.schemas).map(([name, schema]) => declaration(name, schema));
  const union = (operation) =>
    operation.messages.map(({ $ref }) => last(channels.session.messages[last($ref)].$ref)).join("\n  | ");
  return [
    "// Generated from docs/asyncapi.json by `npm run protocol --workspace web`; do not edit.",
    ...types,
    `/** What a client may send. */\nexport type FromClient =\n  | ${union(operations.send)};`,
    `/** What the server sends. */\nexport type FromServer =\n  | ${union(operations.receive)};`,
    "",
  ].join("\n\n").trimEnd() + "\n";
}

function declaration(name, { description, properties = {}, required = [] }) {
  const fields = Object.entries(properties).map(([key, schema]) => {
    const note = schema.description ? `  /** ${schema.description.replaceAll("\n", " ")} */\n` : "";
    return `${note}  ${JSON.stringify(key)}${required.includes(key) ? "" : "?"}: ${type(schema)};`;
  });
  const note = description ? `/** ${description.split("\n").map((line) => ` * ${line}`.trimEnd()).join("\n").slice(3)} */\n` : "";
  return `${note}export interface ${name} {\n${fields.join("\n")}\n}`;
}

function type(schema) {
  if (schema.$ref) return last(schema.$ref);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map(type).join(" | ");
  switch (schema.type) {
    case "array":
      return `Array<${type(schema.items)}>`;
    case "integer":
    case "number":
      return "number";
    case "string":
    case "boolean":
    case "null":
      return schema.type;
    default:
      return "unknown";
  }
}

function last(reference) {
  return reference.split("/").at(-1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(TARGET, await generate());
