package android.widget;

public class ImageView extends android.view.View {
    public ImageView(android.content.Context context) {}
    public void setImageBitmap(android.graphics.Bitmap bitmap) {}
}
