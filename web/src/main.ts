import { Api } from "./api.js";
import { identityFor, type Identity, type Step } from "./auth.js";
import { Chat } from "./chat.js";
import { type Config, loadConfig } from "./config.js";
import { ParleyError, sentence } from "./errors.js";
import { element, type Field, showConnection, showConversations, showSignInFields, Transcript } from "./page.js";
import { ParleySocket } from "./socket.js";

const SIGN_IN_FORMS: Record<Identity["fields"] | NonNullable<Step>, { hint: string; fields: Field[] }> = {
  password: {
    hint: "Sign in to talk to your assistant.",
    fields: [
      { name: "username", label: "E-mail", type: "text", autocomplete: "username" },
      { name: "password", label: "Password", type: "password", autocomplete: "current-password" },
    ],
  },
  "new-password": {
    hint: "This is your first sign-in. Choose a password of your own.",
    fields: [{ name: "new_password", label: "New password", type: "password", autocomplete: "new-password" }],
  },
  totp: {
    hint: "Type the code that your authenticator app shows.",
    fields: [{ name: "code", label: "Code", type: "text", autocomplete: "one-time-code" }],
  },
  "api-key": {
    hint: "Sign in with the API key you were given.",
    fields: [{ name: "api_key", label: "API key", type: "password", autocomplete: "off" }],
  },
};

/** Shows the sign-in card; `enter` follows a successful sign-in. */
function showSignIn(identity: Identity, enter: () => void, message = ""): void {
  element("chat").hidden = true;
  element("sign-in").hidden = false;
  const error = element("sign-in-error");
  error.textContent = message;
  const form = element<HTMLFormElement>("sign-in-form");
  const submit = form.querySelector("button");
  const ask = (step: NonNullable<Step> | Identity["fields"]): void => {
    const { hint, fields } = SIGN_IN_FORMS[step];
    showSignInFields(hint, fields);
  };
  ask(identity.fields);
  form.onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = "";
    submit?.setAttribute("disabled", "");
    try {
      const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
      const next = await identity.signIn(values);
      if (next) ask(next);
      else enter();
    } catch (failure) {
      error.textContent = failure instanceof Error ? failure.message : String(failure);
    } finally {
      submit?.removeAttribute("disabled");
    }
  };
}

function startChat(identity: Identity, config: Config): void {
  const api = new Api(() => identity.authorization());
  const transcript = new Transcript(element("messages"), (documentId) => api.sourceUrl(documentId), config.model);
  const message = element<HTMLTextAreaElement>("message");
  const send = element<HTMLButtonElement>("send");
  const navigation = element("conversations");
  const toggle = element("toggle-conversations");

  const leave = (reason = ""): void => {
    socket.close();
    chat.switchTo(undefined);
    transcript.clear();
    showConversations([], undefined, () => undefined);
    void identity.signOut().then(() => showSignIn(identity, enter, reason));
  };
  const report = (error: unknown): void => {
    if (error instanceof ParleyError && error.code === "unauthorized") leave(sentence(error));
    else transcript.notice(sentence(error));
  };
  const socket: ParleySocket = new ParleySocket((session) => api.ticket(session), {
    state: showConnection,
    frame: (frame) => chat.receive(frame),
    refused: (error) => leave(identity.fields === "api-key" ? "That API key is not valid." : sentence(error)),
  });
  const chat: Chat = new Chat(api, () => socket, () => {
    send.disabled = chat.busy;
    if (!chat.busy && socket.wantsConnection) void refreshConversations();
  });

  const refreshConversations = async (): Promise<void> => {
    // The list is a convenience: when it cannot be read, talking still works.
    const list = await api.conversations().catch(() => null);
    if (list) showConversations(list, chat.conversationId, (id) => void openConversation(id));
  };
  const openConversation = async (id: string): Promise<void> => {
    showNavigation(false);
    chat.switchTo(id);
    transcript.clear();
    try {
      const turns = await api.turns(id);
      if (chat.conversationId === id && !chat.busy) transcript.show(turns);
    } catch (error) {
      report(error);
    }
    message.focus();
  };
  const showNavigation = (open: boolean): void => {
    navigation.classList.toggle("open", open);
    toggle.setAttribute("aria-expanded", String(open));
  };
  const enter = (): void => {
    element("sign-in").hidden = true;
    element("chat").hidden = false;
    element("environment").textContent = config.environment;
    if (config.embedder) element("composer-hint").append(` Passages are found by: ${config.embedder}.`);
    socket.open();
    void refreshConversations();
    message.focus();
  };

  element("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (!text || chat.busy) return;
    message.value = "";
    transcript.question(text);
    chat.ask(text, transcript.answer());
  });
  message.addEventListener("keydown", (event) => {
    // Enter also ends the composition of a character in many languages; that Enter is not ours.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    element<HTMLFormElement>("composer").requestSubmit();
  });
  element("new-conversation").addEventListener("click", () => {
    showNavigation(false);
    chat.switchTo(undefined);
    transcript.clear();
    message.focus();
  });
  element("sign-out").addEventListener("click", () => leave());
  toggle.addEventListener("click", () => showNavigation(!navigation.classList.contains("open")));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && navigation.classList.contains("open")) {
      showNavigation(false);
      toggle.focus();
    }
  });

  void identity.signedIn().then((signedIn) => (signedIn ? enter() : showSignIn(identity, enter)));
}

try {
  const config = await loadConfig();
  startChat(identityFor(config), config);
} catch {
  const failure = document.createElement("p");
  failure.className = "error fatal";
  failure.setAttribute("role", "alert");
  failure.textContent = "The assistant cannot be reached. Reload the page in a moment.";
  document.body.append(failure);
}
