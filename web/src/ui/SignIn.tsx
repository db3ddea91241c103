import { type FormEvent, useEffect, useRef, useState } from "react";
import type { Identity, Step } from "../api/auth.js";

interface Field {
  name: string;
  label: string;
  type: "text" | "password";
  autocomplete: string;
}

const FORMS: Record<Identity["fields"] | NonNullable<Step>, { hint: string; fields: Field[] }> = {
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

interface SignInProps {
  identity: Identity;
  /** Why one has to sign in again. */
  reason: string;
  /** The last words to somebody whose data is deleted. */
  farewell: string;
  enter: () => void;
}

/** The sign-in card, one form after another until nothing more is asked. */
export function SignIn({ identity, reason, farewell, enter }: SignInProps) {
  const [step, setStep] = useState<keyof typeof FORMS>(identity.fields);
  const [error, setError] = useState(reason);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const { hint, fields } = FORMS[step];

  useEffect(() => form.current?.querySelector("input")?.focus(), [step]);

  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value)]));
    setError("");
    setBusy(true);
    try {
      const next = await identity.signIn(values);
      if (next) setStep(next);
      else enter();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="sign-in">
      <form className="card" method="post" ref={form} onSubmit={(event) => void submit(event)}>
        <h1>
          <img src="/icon.svg" alt="" width="32" height="32" /> Parley
        </h1>
        {farewell && (
          <p className="farewell" role="status">
            {farewell}
          </p>
        )}
        <p className="quiet">{hint}</p>
        <div className="fields">
          {fields.map(({ name, label, type, autocomplete }) => (
            <label key={name}>
              {label}
              <input name={name} type={type} autoComplete={autocomplete} required spellCheck={false} autoCapitalize="none" />
            </label>
          ))}
        </div>
        {/* Always there: an alert that comes with its text is not read by every screen reader. */}
        <p className="error" role="alert">
          {error}
        </p>
        <button type="submit" className="primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
