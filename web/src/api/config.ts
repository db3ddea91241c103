/** What the page must know about the deployment it belongs to; published beside it as `/config.json`. */
export interface Config {
  auth: "cognito" | "api-key";
  environment: string;
  region?: string;
  user_pool_id?: string;
  client_id?: string;
  /** What really answers in the sandbox, whatever model the assistant asks for. */
  model?: string;
  /** What really embeds questions and documents there. */
  embedder?: string;
  /** What really listens there. */
  recogniser?: string;
  /** Whether one can speak with this assistant. */
  voice?: boolean;
  /** The languages that can be spoken, as in "en-US"; the first is the assistant's own. */
  languages?: string[];
  /** Where Cognito answers when that is not its public endpoint (the sandbox). */
  cognito_endpoint?: string;
}

export async function loadConfig(): Promise<Config> {
  const response = await fetch("/config.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`/config.json answered ${response.status}.`);
  return (await response.json()) as Config;
}
