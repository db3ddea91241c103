import { confirmSignIn, fetchAuthSession, signIn, signOut } from "@aws-amplify/auth";
import { cognitoUserPoolsTokenProvider } from "@aws-amplify/auth/cognito";
import { Amplify, sessionStorage } from "@aws-amplify/core";
import type { Config } from "./config.js";
import { ParleyError } from "../errors.js";

/** What a sign-in form must ask for next. `null` means: signed in. */
export type Step = null | "new-password" | "totp";

/** Who is using the page. Credentials live in the tab's session storage and go with the tab. */
export interface Identity {
  readonly fields: "password" | "api-key";
  signedIn(): Promise<boolean>;
  /** Throws an Error whose message is a sentence for the person signing in. */
  signIn(values: Record<string, string>): Promise<Step>;
  signOut(): Promise<void>;
  /** The Authorization header's value, with an expired token renewed first. */
  authorization(): Promise<string>;
}

export function identityFor(config: Config): Identity {
  return config.auth === "api-key" ? new ApiKeyIdentity() : new CognitoIdentity(config);
}

class CognitoIdentity implements Identity {
  readonly fields = "password";

  constructor(config: Config) {
    const cognito = { userPoolId: config.user_pool_id ?? "", userPoolClientId: config.client_id ?? "" };
    const endpoint = config.cognito_endpoint && { userPoolEndpoint: new URL(config.cognito_endpoint, location.href).href };
    const auth = { Cognito: { ...cognito, ...endpoint } };
    cognitoUserPoolsTokenProvider.setAuthConfig(auth);
    cognitoUserPoolsTokenProvider.setKeyValueStorage(sessionStorage);
    Amplify.configure({ Auth: auth }, { Auth: { tokenProvider: cognitoUserPoolsTokenProvider } });
  }

  async signedIn(): Promise<boolean> {
    return this.token().then(Boolean, () => false);
  }

  async signIn(values: Record<string, string>): Promise<Step> {
    try {
      // One form at a time: an account that an administrator made asks for a password of its owner's choice first.
      const challengeResponse = values.new_password ?? values.code;
      const { nextStep } = challengeResponse
        ? await confirmSignIn({ challengeResponse })
        : await signIn({
            username: (values.username ?? "").trim(),
            password: values.password ?? "",
            options: { authFlowType: "USER_SRP_AUTH" },
          });
      if (nextStep.signInStep === "DONE") return null;
      if (nextStep.signInStep === "CONFIRM_SIGN_IN_WITH_NEW_PASSWORD_REQUIRED") return "new-password";
      if (nextStep.signInStep === "CONFIRM_SIGN_IN_WITH_TOTP_CODE") return "totp";
    } catch (error) {
      throw new Error(signInSentence(error));
    }
    throw new Error("This account signs in with a step that this page does not offer.");
  }

  async signOut(): Promise<void> {
    // Revoking the token needs the network; forgetting it does not.
    await signOut().catch(() => cognitoUserPoolsTokenProvider.tokenOrchestrator.clearTokens());
  }

  async authorization(): Promise<string> {
    const token = await this.token();
    if (!token) throw new ParleyError("unauthorized", "The sign-in has ended.", false);
    return `Bearer ${token}`;
  }

  private async token(): Promise<string | undefined> {
    return (await fetchAuthSession()).tokens?.accessToken.toString();
  }
}

function signInSentence(error: unknown): string {
  switch (error instanceof Error ? error.name : "") {
    case "NotAuthorizedException":
    case "UserNotFoundException":
      return "The e-mail address or the password is wrong.";
    case "InvalidPasswordException":
      return "That password is too weak for this service. Choose a longer one with more kinds of characters.";
    case "PasswordResetRequiredException":
      return "This account must set a new password first. Ask your administrator.";
    case "CodeMismatchException":
      return "That code is wrong. Type the one that the app shows now.";
    case "LimitExceededException":
    case "TooManyRequestsException":
      return "Too many attempts. Wait a few minutes and try again.";
    case "NetworkError":
      return "The sign-in service cannot be reached. Check your connection.";
    default:
      return "Signing in did not work. Try again.";
  }
}

class ApiKeyIdentity implements Identity {
  readonly fields = "api-key";
  private static readonly STORAGE_KEY = "parley.api-key";

  async signedIn(): Promise<boolean> {
    return this.key() !== null;
  }

  async signIn(values: Record<string, string>): Promise<Step> {
    const key = (values.api_key ?? "").trim();
    if (!/^parley_[\w-]+_[\w-]+$/.test(key)) throw new Error("An API key looks like parley_..._...");
    window.sessionStorage.setItem(ApiKeyIdentity.STORAGE_KEY, key);
    return null;
  }

  async signOut(): Promise<void> {
    window.sessionStorage.removeItem(ApiKeyIdentity.STORAGE_KEY);
  }

  async authorization(): Promise<string> {
    return `Bearer ${this.key() ?? ""}`;
  }

  private key(): string | null {
    return window.sessionStorage.getItem(ApiKeyIdentity.STORAGE_KEY);
  }
}
