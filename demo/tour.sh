# What the guided tour needs in its terminal (bash): four people, and the requests that they repeat.
PORTCULLIS_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PORTCULLIS_HOME PORTCULLIS_DEMO_PROVIDER=http://127.0.0.1:8610
status='\nHTTP %{http_code}\n'
ana() { portcullis --profile ana "$@"; }
ben() { portcullis --profile ben "$@"; }
lea() { portcullis --profile lea "$@"; }
sam() { portcullis --profile sam "$@"; }
# A person would open the address that login prints; here its form is filled in for them.
sign_in() { portcullis login http://127.0.0.1:8600 --as "$1" | portcullis demo sign-in "$1" -; }
# refund WHO: asks payments for a refund, always the very same one.
refund() {
  "$1" curl -sS -w "$status" -H 'content-type: application/json' \
    -d '{"payment": "p-1001", "amount": 1200, "currency": "EUR"}' http://payments.localhost:8080/v1/refunds
}
# code WHO: the code of that refusal, as the answer says it.
code() { refund "$1" 2>/dev/null | grep -o '"refusal":"[^"]*' | cut -d '"' -f 4; }
# A CI job's own OpenID token.
ci_token() { curl -sS -d grant_type=client_credentials -d audience=portcullis http://127.0.0.1:8610/ci/token; }
