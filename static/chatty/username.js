const ANONYMOUS = "anon";
const KEY = "chatty:username";

/** Who is writing: what the field says now, remembered for the next visit. That of an account is fixed. */
export class Username {
  /** @param {HTMLInputElement} field */
  constructor(field) {
    this._field = field;
    if (field.readOnly) return;
    field.value ||= recall();
    field.addEventListener("input", () => remember(this._field.value));
  }

  get current() {
    return this._field.value.trim() || ANONYMOUS;
  }
}

// private

function recall() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch { // storage may be blocked; then a name lasts as long as the page
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem(KEY, name);
  } catch { // blocked or full
  }
}
