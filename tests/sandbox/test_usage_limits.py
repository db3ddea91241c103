"""A user at the limits: own ones, set as an operator sets them, while everybody else goes on."""

from tests.sandbox.people import Person, Sandbox


def test_documents_have_a_daily_quota(sandbox: Sandbox, user: Person) -> None:
    sandbox.limit(user, documents_per_day=1)
    document = {"name": "note.md", "text": "# Note\n\nThe lighthouse is green.\n"}
    # What is refused for another reason is not counted.
    assert user.http.post("/knowledge/documents", json={**document, "name": "note.exe"}).status_code == 422
    first = user.http.post("/knowledge/documents", json=document)
    assert first.status_code == 201
    refused = user.http.post("/knowledge/documents", json=document)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "quota_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    assert "1 documents" in error["message"]
    assert user.http.put(f"/knowledge/documents/{first.json()['document_id']}", json=document).status_code == 429
    assert len(user.http.get("/knowledge/documents").json()["documents"]) >= 1
    other = sandbox.new_user().http.post("/knowledge/documents", json=document)
    assert other.status_code == 201


def test_tokens_have_a_daily_quota_over_http_and_websocket(sandbox: Sandbox, user: Person) -> None:
    sandbox.limit(user, tokens_per_day=1)
    answered = user.chat("What is a turn?", key="first")
    assert answered.status_code == 200
    refused = user.chat("And a ticket?")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
    # The stored answer costs nothing.
    again = user.chat("What is a turn?", key="first")
    assert (again.status_code, again.json()["turn_id"]) == (200, answered.json()["turn_id"])
    with user.connected() as connection:
        error = connection.ask("And a ticket?", request_id="r-1")
    assert (error["type"], error["code"], error["retryable"]) == ("error", "quota_exceeded", False)
    assert 0 < error["retry_after"] <= 86_400
    assert len(user.conversations()) == 1


def test_a_call_does_not_begin_once_its_minutes_are_spent(sandbox: Sandbox, user: Person) -> None:
    sandbox.limit(user, voice_minutes_per_day=1)
    table = sandbox.outputs_of("Data")["UsageTableName"]
    subject = user.subject
    user.chat("What is a turn?")
    query = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": f"{subject}#day"}}}
    [today] = sandbox.aws("dynamodb").query(TableName=table, **query)["Items"]
    assert int(today["tokens"]["N"]) > 0
    sandbox.aws("dynamodb").update_item(
        TableName=table,
        Key={"pk": today["pk"], "sk": today["sk"]},
        UpdateExpression="SET voice_seconds = :all",
        ExpressionAttributeValues={":all": {"N": "60"}},
    )
    with user.connected() as connection:
        connection.send("session.start", medium="voice")
        error = connection.receive("session.ready")
    assert (error["type"], error["code"]) == ("error", "quota_exceeded")
