"""Fields that several views take: prompts and answers as people write them, checked by the rules of imports."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from ..formats.prompts import MAX_CHARACTERS
from ..formats.rows import Message, Unreadable, check_prompt, check_text

LARGEST_ANSWER = 200_000  # characters

MESSAGES = {
    "oneOf": [
        {"type": "string", "minLength": 1, "example": "Why is the sky blue?"},
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"type": "string", "enum": ["system", "user", "assistant"]},
                    "content": {"type": "string", "minLength": 1},
                },
            },
        },
    ]
}


@extend_schema_field(MESSAGES)
class MessagesField(serializers.Field):
    """A prompt: its text, or its messages, the last of them the user's. Always messages once it is read."""

    def to_internal_value(self, data: Any) -> list[Message]:
        try:
            messages = check_prompt(data)
        except Unreadable as error:
            raise serializers.ValidationError(f"{error.reason} {error.next_step}") from None
        if sum(len(message["content"]) for message in messages) > MAX_CHARACTERS:
            raise serializers.ValidationError(f"The prompt is longer than {MAX_CHARACTERS:,} characters. Shorten or split it.")
        return messages

    def to_representation(self, value: list[Message]) -> list[Message]:
        return value


class AnswerTextField(serializers.CharField):
    """White space belongs to an answer: none is taken off."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "max_length": LARGEST_ANSWER} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return check_text(text, "The answer")
        except Unreadable as error:
            raise serializers.ValidationError(f"{error.reason} {error.next_step}") from None


class AnswerIn(serializers.Serializer):
    text = AnswerTextField()
    model = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=200, help_text="Who wrote it. Annotators never see it."
    )
