from __future__ import annotations

import json

import schemathesis
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.api.openapi import ANY, ENDPOINTS, document, openapi_json
from audiosvc.api.routes import Routes
from audiosvc.errors import AudioServiceError


class Document(SynchronousTestCase):
    def test_it_is_a_valid_openapi_document(self) -> None:
        schemathesis.openapi.from_dict(document()).validate()

    def test_it_has_every_route_and_no_other(self) -> None:
        routes = {
            (rule.rule.replace("<", "{").replace(">", "}"), method.lower())
            for rule in Routes.app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD"}
        }
        self.assertEqual({(endpoint.path, endpoint.method) for endpoint in ENDPOINTS}, routes)
        self.assertEqual(
            {(path, method) for path, methods in document()["paths"].items() for method in methods}, routes
        )

    def test_a_body_is_the_type_that_validates_it(self) -> None:
        operation = document()["paths"]["/session/{session_id}/play"]["post"]
        self.assertEqual(
            operation["requestBody"],
            {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Play"}}}},
        )
        volume = document()["components"]["schemas"]["Play"]["properties"]["volume"]
        self.assertEqual((volume["type"], volume["minimum"], volume["maximum"]), ("number", 0.0, 2.0))

    def test_where_a_body_may_be_left_out_it_says_so(self) -> None:
        self.assertFalse(document()["paths"]["/session/{session_id}/stop"]["post"]["requestBody"]["required"])

    def test_query_parameters_come_with_their_bounds(self) -> None:
        q, limit = document()["paths"]["/search"]["get"]["parameters"]
        self.assertEqual((q["name"], q["in"], q["required"]), ("q", "query", True))
        self.assertEqual((limit["name"], limit["required"]), ("limit", False))
        self.assertEqual(limit["schema"], {"type": "integer", "minimum": 1, "maximum": 50, "default": 10})

    def test_each_endpoint_lists_the_codes_it_may_answer(self) -> None:
        answers = document()["paths"]["/session/{session_id}/seek"]["post"]["responses"]
        self.assertEqual(set(answers), {"200", "400", "401", "403", "404", "409", "413", "415", "421", "422", "429"})
        codes = answers["400"]["content"]["application/json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
        self.assertEqual(codes, ["bad_request", "invalid_body", "invalid_json", "invalid_session_id"])
        self.assertEqual(list(answers["401"]["headers"]), ["WWW-Authenticate"])

    def test_every_reference_leads_somewhere(self) -> None:
        raw = openapi_json().decode()
        for reference in {part.split('"')[0] for part in raw.split('"#/components/schemas/')[1:]}:
            self.assertIn(reference, document()["components"]["schemas"])

    def test_what_is_served_is_the_document(self) -> None:
        self.assertEqual(json.loads(openapi_json()), document())

    def test_every_code_is_listed_but_those_that_belong_to_no_endpoint(self) -> None:
        listed = {error for endpoint in ENDPOINTS for error in endpoint.errors} | set(ANY)
        self.assertEqual(
            set(AudioServiceError.__subclasses__()) - listed,
            {errors.NoSuchEndpoint, errors.MethodNotAllowed},
        )
